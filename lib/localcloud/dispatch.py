"""One call from any transport: counted, struck by faults, answered by its service."""

import logging
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError, Message

from lib.errors import MigrationError
from lib.localcloud import errors
from lib.localcloud.calls import mutates
from lib.localcloud.contract import Method
from lib.localcloud.core import Call, Core
from lib.localcloud.mishap import Mishaps
from lib.localcloud.service import Service

log = logging.getLogger(__name__)


def answer(
    core: Core,
    service: Service,
    method: Method,
    read: Callable[[], Any],
    authorization: str,
    cut: Callable[[], None],
) -> Message:
    """The response to one call; raises nothing but ``RpcError``.

    ``read`` decodes the request, ``authorization`` is the header, ``cut`` ends the connection.
    """
    rpc = method.name
    core.calls.count(f"{service.name}/{rpc}")
    try:
        principal = core.identities.principal(authorization)
        request = read()
        with _mishaps(core, service, method, request, cut).around():
            return service.handle(Call(core, principal, method), request)
    except errors.RpcError as error:
        log.info("%s: %s", rpc, error.message)
        raise
    except DecodeError as error:
        raise errors.invalid("request", "the request cannot be decoded") from error
    except MigrationError as error:
        log.warning("%s: %s", rpc, error)
        raise errors.behind(error) from error
    except Exception as error:
        log.exception("%s failed", rpc)
        raise errors.internal(f"{type(error).__name__}: {error}") from error


def _mishaps(
    core: Core, service: Service, method: Method, request: Any, cut: Callable[[], None]
) -> Mishaps:
    core.store.keep(core.faults.moments())
    struck = core.faults.upon(
        service.names,
        method.name,
        service.subject(method.name, request),
        operation=method.is_operation,
        reads=not mutates(method.name),
    )
    return Mishaps(struck, core.store, cut)
