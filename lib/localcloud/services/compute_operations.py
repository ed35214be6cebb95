"""Operations of Compute v1, of which each scope has its own: asked for, and waited for."""

from typing import Any

from lib.localcloud.core import Call
from lib.localcloud.rest import RestRequest, RestService, Route
from lib.localcloud.services.compute import ROOT, operation, scope_of


class ComputeOperations(RestService):
    """Global and regional operations of Compute."""

    proto = "google.cloud.compute.v1.GlobalOperations"
    title = "compute.googleapis.com"
    routes = tuple(
        Route(verb, f"{ROOT}/projects/{{project}}/{scope}/operations/{{operation}}{end}", rpc)
        for scope in ("global", "regions/{region}")
        for verb, end, rpc in (("GET", "", "Get"), ("POST", "/wait", "Wait"))
    )

    def subject(self, _rpc: str, request: Any) -> str:
        """What the operation works on."""
        row = self.core.store.operation(self._name(request))
        return row.target if row is not None else self._name(request)

    def Get(self, _call: Call, request: RestRequest) -> Any:
        """An operation as it is now."""
        return operation(self.core.operations.require(self._name(request)))

    def Wait(self, call: Call, request: RestRequest) -> Any:
        """An operation once it is done, or as it is after a while."""
        self.Get(call, request)
        return operation(self.core.operations.wait(self._name(request), 20.0))

    def _name(self, request: RestRequest) -> str:
        own = request.values["operation"]
        return f"projects/{self.project(request)}/{scope_of(request)}/operations/{own}"
