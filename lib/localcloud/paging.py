"""Page tokens: the name that the last page ended with."""

import base64
import binascii

from lib.localcloud import errors


def write_token(name: str) -> str:
    """A page token after ``name``."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def read_token(token: str) -> str:
    """The name in a page token; INVALID_ARGUMENT where it is none of ours."""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise errors.invalid("page_token", "the page token is not valid") from error
