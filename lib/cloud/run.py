"""Cloud Run: the service that serves the agent API."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from lib.cloud import fields, locations
from lib.cloud.clients import Clients
from lib.cloud.errors import OperationFailed
from lib.cloud.kind import Condition, Kind
from lib.cloud.resource import Resource
from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange

FALLBACK: Final = "ai-orchestra-migration/fallback-revision"
"""Annotation of the service: the revision that serves again if the newest one disappoints."""
STARTUP_PROBE: Final = {
    "http_get": {"path": "/health/ready"},
    "period_seconds": 3,
    "timeout_seconds": 3,
    "failure_threshold": 20,
}
"""What a revision must answer before it gets traffic: it reaches its stores (within a minute)."""
_TYPE: Final = "TRAFFIC_TARGET_ALLOCATION_TYPE_"


def _condition(service: Any) -> Condition:
    state = service.terminal_condition.state.name
    if service.reconciling or state in ("CONDITION_PENDING", "CONDITION_RECONCILING"):
        return Condition.PENDING
    # A failed revision is mended by the next update, so it must not stand in its way.
    return Condition.READY


def _broken(service: Any) -> bool:
    return bool(service.terminal_condition.state.name == "CONDITION_FAILED")


ATTEMPT = "ai-orchestra-attempt"

SERVICE = Kind(
    noun="Cloud Run service",
    service="run",
    thing="service",
    collection="services",
    condition=_condition,
    wholes=("template", "traffic"),
    console="https://console.cloud.google.com/run",
)


class RunService(Resource[Any]):
    """A Cloud Run service; its state exposes ``uri``.

    Traffic is not part of it: a new revision gets it once its startup probe is answered, unless
    it was directed elsewhere (``traffic_to_newest``).

    One whose newest revision does not serve, though it is what is wanted, is deployed once more:
    what kept the revision from starting may have passed.
    """

    _deployed_again = False

    def plan(self, observed: Any) -> Change:
        """As for every resource; one that is as wanted but does not serve is deployed again."""
        change = super().plan(observed)
        if change.kind is ChangeKind.NONE and _broken(observed):
            if self._deployed_again:
                self._refuse_broken(observed)
            return Change(ChangeKind.UPDATE, self.subject, (), "deploys a revision that serves")
        return change

    def verify(self) -> Any:
        """The service as wanted, its newest revision serving."""
        service = super().verify()
        self._refuse_broken(service)
        return service

    def _alter(self, observed: Any, changed: tuple[FieldChange, ...], journal: Journal) -> None:
        if changed:
            super()._alter(observed, changed, journal)
            return
        self._deployed_again = True
        # The same template makes no new revision; a mark of its own makes it another.
        template = fields.plain(observed)["template"]
        marks = {**template.get("annotations", {}), ATTEMPT: uuid.uuid4().hex[:12]}
        self._send(
            observed, ["template"], {"template": {**template, "annotations": marks}}, journal
        )

    def _update(self, observed: Any, masks: list[str], part: dict[str, Any]) -> Any:
        # One request changes both, so that no kill comes between a revision and the way back.
        serving = serving_revision(observed)
        if "template" in masks and serving:
            part = {**part, "annotations": {**observed.annotations, FALLBACK: serving}}
            masks = [*masks, "annotations"]
        return super()._update(observed, masks, part)

    def _refuse_broken(self, service: Any) -> None:
        if _broken(service):
            raise OperationFailed(
                f"{self.subject} does not serve: {service.terminal_condition.message}",
                expected="a revision that becomes ready",
                remedy=f"read its log: gcloud run services logs read {self.id}",
            )


class ServiceAspect(Resource[Any]):
    """One aspect of a service that is there; what it should be is told by the service itself."""

    def __init__(
        self, clients: Clients, project: Any, api: Any, aspect: str, wish: Callable[[Any], Any]
    ) -> None:
        parent, id = locations.region(project), api.service
        about = {"project": project.id, "aspect": aspect, "partial": True}
        super().__init__(clients, SERVICE, parent, id, {}, **about)
        self._wish = wish

    def _take_back(self, change: Change, journal: Journal) -> None:
        """Nothing: the service's own undo makes the earlier template its newest revision."""

    def _differences(self, observed: Any) -> tuple[FieldChange, ...]:
        self.body = self._wish(observed)
        return super()._differences(observed)


def serving_revision(service: Any) -> str:
    """The id of the revision that gets most of the traffic, empty where none does."""
    targets = sorted(service.traffic_statuses, key=lambda each: each.percent)
    named = targets[-1].revision if targets else ""
    return str(named or service.latest_ready_revision).rpartition("/")[2]


def traffic_to_newest(clients: Clients, project: Any, api: Any) -> ServiceAspect:
    """The newest revision serves."""
    wish = {"traffic": [{"type_": f"{_TYPE}LATEST", "percent": 100}]}
    return ServiceAspect(clients, project, api, "traffic to the newest revision", lambda _: wish)


def traffic_to_fallback(clients: Clients, project: Any, api: Any) -> ServiceAspect:
    """The revision serves that did before the newest, or the accepted one; else no change."""

    def wish(service: Any) -> fields.Body:
        revision = dict(service.annotations).get(FALLBACK, "")
        if revision in ("", serving_revision(service)):
            return {}
        target = {"type_": f"{_TYPE}REVISION", "revision": revision, "percent": 100}
        return {"traffic": [target]}

    return ServiceAspect(clients, project, api, "traffic back to the revision before", wish)


def acceptance(clients: Clients, project: Any, api: Any) -> ServiceAspect:
    """The newest revision is the one to go back to from now on."""

    def wish(service: Any) -> fields.Body:
        newest = service.latest_ready_revision.rpartition("/")[2]
        return {"annotations": {FALLBACK: newest}}

    return ServiceAspect(clients, project, api, "its newest revision is accepted", wish)


def service(
    clients: Clients,
    project: Any,
    api: Any,
    env: Mapping[str, str],
    secrets: Mapping[str, str],
    service_account: str,
    network: Any,
    protected: bool,
    background: bool = False,
) -> RunService:
    """The service with its environment; ``secrets`` maps variables to ids of secrets.

    ``network`` (settings, or None) gives direct egress to the private addresses in it.  With
    ``background`` instances have their CPU between requests too, for work that nobody asks for.
    """
    variables: list[dict[str, Any]] = [
        {"name": name, "value": value} for name, value in sorted(env.items())
    ]
    for name, secret in sorted(secrets.items()):
        reference = {"secret": secret, "version": "latest"}
        variables.append({"name": name, "value_source": {"secret_key_ref": reference}})
    template: dict[str, Any] = {
        "containers": [{"image": api.image, "env": variables, "startup_probe": {**STARTUP_PROBE}}],
        "scaling": {
            "min_instance_count": api.min_instances,
            "max_instance_count": api.max_instances,
        },
        "max_instance_request_concurrency": api.concurrency,
        "service_account": service_account,
    }
    if background:
        limits = {"cpu": "1", "memory": "1Gi"}
        template["containers"][0]["resources"] = {"limits": limits, "cpu_idle": False}
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
