"""Cloud Run: the service that serves the agent API."""

from collections.abc import Mapping
from typing import Any

from lib.cloud import locations
from lib.cloud.clients import Clients
from lib.cloud.kind import Condition, Kind
from lib.cloud.resource import Resource


def _condition(service: Any) -> Condition:
    state = service.terminal_condition.state.name
    if service.reconciling or state in ("CONDITION_PENDING", "CONDITION_RECONCILING"):
        return Condition.PENDING
    # A failed revision is mended by the next update, so it must not stand in its way.
    return Condition.READY


SERVICE = Kind(
    noun="Cloud Run service",
    service="run",
    thing="service",
    collection="services",
    condition=_condition,
    wholes=("template",),
    console="https://console.cloud.google.com/run",
)


class RunService(Resource[Any]):
    """A Cloud Run service; its state exposes ``uri``."""

    def verify(self) -> Any:
        """The service as wanted, its newest revision serving."""
        service = super().verify()
        self._refuse_broken(service)
        return service

    def _differences(self, observed: Any) -> Any:
        changed = super()._differences(observed)
        if not changed and self.kind.condition(observed) is Condition.READY:
            self._refuse_broken(observed)
        return changed

    def _refuse_broken(self, service: Any) -> None:
        if service.terminal_condition.state.name == "CONDITION_FAILED":
            from lib.cloud.errors import OperationFailed

            raise OperationFailed(
                f"{self.subject} does not serve: {service.terminal_condition.message}",
                expected="a revision that becomes ready",
                remedy=f"read its log: gcloud run services logs read {self.id}",
            )


def service(
    clients: Clients,
    project: Any,
    api: Any,
    env: Mapping[str, str],
    secrets: Mapping[str, str],
    service_account: str,
    network: Any,
    protected: bool,
) -> RunService:
    """The service with its environment; ``secrets`` maps variables to ids of secrets.

    ``network`` (settings, or None) gives direct egress to the private addresses in it.
    """
    variables: list[dict[str, Any]] = [
        {"name": name, "value": value} for name, value in sorted(env.items())
    ]
    for name, secret in sorted(secrets.items()):
        reference = {"secret": secret, "version": "latest"}
        variables.append({"name": name, "value_source": {"secret_key_ref": reference}})
    template: dict[str, Any] = {
        "containers": [{"image": api.image, "env": variables}],
        "scaling": {
            "min_instance_count": api.min_instances,
            "max_instance_count": api.max_instances,
        },
        "max_instance_request_concurrency": api.concurrency,
        "service_account": service_account,
    }
    if network is not None:
        interface = {
            "network": locations.network(project, network),
            "subnetwork": locations.subnetwork(project, network),
        }
        template["vpc_access"] = {
            "network_interfaces": [interface],
            "egress": "PRIVATE_RANGES_ONLY",
        }
    return RunService(
        clients,
        SERVICE,
        locations.region(project),
        api.service,
        {"template": template, "labels": dict(project.labels)},
        project=project.id,
        protected=protected,
    )
