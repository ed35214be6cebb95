"""Another version of an API over the resources of its stable one."""

from typing import Any, ClassVar

from google.protobuf.message import Message

from lib.localcloud import errors
from lib.localcloud.core import Call
from lib.localcloud.service import Service


class AnotherVersion(Service):
    """Messages have the same fields on the wire, so that each call is answered by ``stable``.

    Operations are refused: what they yield would be of the stable version's types.
    """

    stable: ClassVar[str]

    def handle(self, call: Call, request: Any) -> Message:
        """Answer by the same method of the stable version."""
        stable = self.core.service(self.stable)
        method = stable.method(call.method.name) if stable is not None else None
        if stable is None or method is None or method.is_operation:
            raise errors.unimplemented(
                f"{self.name}/{call.method.name} is not implemented by the embedded cloud; "
                f"{self.stable} may have it"
            )
        asked = method.request.FromString(request.SerializeToString())
        answer = stable.handle(Call(self.core, call.principal, method), asked)
        return call.method.response.FromString(answer.SerializeToString())

    def subject(self, rpc: str, request: Any) -> str:
        """The full name of the resource that a call is about."""
        stable = self.core.service(self.stable)
        return stable.subject(rpc, request) if stable is not None else ""
