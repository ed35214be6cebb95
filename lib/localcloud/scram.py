"""SCRAM-SHA-256 as PostgreSQL asks for it: the client's side, for one login."""

import base64
import hashlib
import hmac
import secrets
from typing import Final

MECHANISM: Final = b"SCRAM-SHA-256"
_HEADER: Final = b"n,,"


class Login:
    """One login; the password is ASCII, as generated ones are.

    ``first`` goes out, ``final`` answers what comes back, ``accepts`` checks the last word.
    """

    def __init__(self, password: str) -> None:
        self._password = password.encode("ascii")
        self._bare = b"n=,r=" + base64.b64encode(secrets.token_bytes(18))
        self._expected = b""

    @property
    def first(self) -> bytes:
        """The first message."""
        return _HEADER + self._bare

    def final(self, challenge: bytes) -> bytes:
        """The answer to the server's challenge; raises ``ValueError`` for one of another login."""
        told = dict(part.split(b"=", 1) for part in challenge.split(b","))
        if not told[b"r"].startswith(self._bare.partition(b"r=")[2]):
            raise ValueError("the server's nonce does not continue ours")
        salt, rounds = base64.b64decode(told[b"s"]), int(told[b"i"])
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, rounds)
        unproven = b"c=" + base64.b64encode(_HEADER) + b",r=" + told[b"r"]
        signed = b",".join([self._bare, challenge, unproven])
        key = _mac(salted, b"Client Key")
        signature = _mac(hashlib.sha256(key).digest(), signed)
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        self._expected = _mac(_mac(salted, b"Server Key"), signed)
        return unproven + b",p=" + base64.b64encode(proof)

    def accepts(self, verdict: bytes) -> bool:
        """Whether the server has proved that it knows the password too."""
        return hmac.compare_digest(verdict, b"v=" + base64.b64encode(self._expected))


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
