"""Everything that the embedded cloud keeps, read from its state for people; without secrets."""

import json
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.rpc import code_pb2, status_pb2

from lib.localcloud.calls import Counts
from lib.localcloud.core import Core
from lib.localcloud.faults import Standing
from lib.localcloud.service import Service
from lib.localcloud.store import OperationRow
from lib.runtime.addresses import subnet

MASK: Final = "********"
SHORTEST_SECRET: Final = 4
LATEST: Final = 10
SECRET_NAME: Final = re.compile(
    r"(?i)passw|token|auth_?string|private_?key|payload|credential|.secret|secret.|_key$"
)
URL_PASSWORD: Final = re.compile(r"(?<=://)([^/\s:@]*):([^/\s@]+)@")
SECRET_FACTS: Final = ("redis-auth", "secret-payload", "token-of")
STATE_PREFIX: Final = re.compile(r"^(STATE|CONDITION)_")
BESIDE_PROJECTS: Final = "outside projects"
KEY_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "Project": ("parent", "labels"),
    "alloydb/Cluster": ("databaseVersion", "networkConfig.network", "pscConfig.pscEnabled"),
    "alloydb/Instance": ("instanceType", "machineConfig.cpuCount", "availabilityType"),
    "User": ("databaseRoles",),
    "redis/Instance": ("tier", "memorySizeGb", "redisVersion", "authEnabled"),
    "WorkstationCluster": ("network",),
    "WorkstationConfig": (
        "host.gceInstance.machineType", "host.gceInstance.accelerators.0.type",
        "host.gceInstance.accelerators.0.count",
    ),
    "Service": ("template.containers.0.image", "template.scaling.minInstanceCount"),
    "ServiceAccount": ("email",),
    "Secret": ("replication",),
    "Index": ("displayName", "metadata.config.dimensions"),
    "IndexEndpoint": ("displayName", "publicEndpointDomainName"),
    "Network": ("autoCreateSubnetworks",),
    "Subnetwork": ("network",),
    "GlobalAddress": ("purpose", "prefixLength", "network"),
    "Address": ("subnetwork",),
    "ForwardingRule": ("target", "network"),
    "Connection": ("reservedPeeringRanges",),
}  # fmt: skip
"""What the list shows of a kind, as paths into its JSON; a kind may be told with its service."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One resource in the list."""

    service: str
    kind: str
    name: str
    state: str
    address: str
    process: str
    facts: tuple[tuple[str, str], ...]

    @property
    def shown(self) -> str:
        """The name without its project and location."""
        return _short(self.name)


@dataclass(frozen=True, slots=True)
class Group:
    """The resources of one API in one project."""

    project: str
    api: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class OperationLine:
    """An operation: what it does to which resource, since when, and how it ended."""

    name: str
    rpc: str
    target: str
    began: float
    seconds: float
    outcome: str
    error: str = ""

    @property
    def shown(self) -> str:
        """The resource's name without its project and location."""
        return _short(self.target)


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole cloud at one moment; ``read_at`` is a time in seconds."""

    read_at: float
    groups: tuple[Group, ...]
    running: tuple[OperationLine, ...]
    latest: tuple[OperationLine, ...]
    faults: tuple[Standing, ...]
    counts: Counts


@dataclass(frozen=True, slots=True)
class Page:
    """One resource with all its fields, as JSON text, and what was done to it."""

    entry: Entry
    api: str
    document: str
    bindings: tuple[tuple[str, tuple[str, ...]], ...]
    operations: tuple[OperationLine, ...]
    around: tuple[Entry, ...]


def overview(state: Path) -> Overview | None:
    """Read the state of a folder; None where the cloud has none yet."""
    if not (state / "state.db").exists():
        return None
    with closing(Core(state, subnet(state))) as core:
        rows = core.store.operations(None, "")
        return Overview(
            time.time(),
            tuple(_groups(core)),
            tuple(_line(core, row) for row in rows if row.done is None),
            tuple(_line(core, row) for row in reversed(_done(rows)[-LATEST:])),
            tuple(core.faults.all()),
            core.calls.counts(),
        )


def page(state: Path, service_name: str, name: str) -> Page | None:
    """One resource; None where it is not there."""
    if not (state / "state.db").exists():
        return None
    with closing(Core(state, subnet(state))) as core:
        row = core.store.get(service_name, name)
        service = core.service(service_name) if row is not None else None
        if row is None or service is None:
            return None
        kind: Any = service.of_kind[row.kind]
        masked = _Masked(core)
        pb = _read(kind, row.body)
        entry = _entry(masked, service, kind, name, pb)
        text = json.dumps(masked.document(_plain(kind, name, pb)), indent=2, sort_keys=True)
        policy = core.policies.get(service_name, name)
        done = [each for each in core.store.operations(None, "") if each.target == name]
        around = [
            each
            for group in _groups(core)
            for each in group.entries
            if each.service == service_name and _adjacent(each.name, name)
        ]
        return Page(
            entry, _api(service), text,
            tuple((each.role, tuple(each.members)) for each in policy.bindings),
            tuple(_line(core, each) for each in reversed(done[-LATEST:])), tuple(around),
        )  # fmt: skip


def _short(name: str) -> str:
    return re.sub(r"^projects/[^/]+/(locations/[^/]+/)?(?=.)", "", name)


def _adjacent(name: str, other: str) -> bool:
    """Whether one of two resources is above the other."""
    return name.startswith(f"{other}/") or other.startswith(f"{name}/")


def _groups(core: Core) -> Iterable[Group]:
    masked = _Masked(core)
    found: dict[tuple[str, str], list[Entry]] = {}
    for service in core.services_in_use():
        for kind in service.of_kind.values():
            for name, pb in kind.everything():
                parts = name.split("/")
                project = parts[1] if parts[0] == "projects" else BESIDE_PROJECTS
                entry = _entry(masked, service, kind, name, pb)
                found.setdefault((project, _api(service)), []).append(entry)
    for project, api in sorted(found):
        entries = sorted(found[project, api], key=lambda each: (each.kind, each.name))
        yield Group(project, api, tuple(entries))


def _api(service: Service) -> str:
    return service.title or "cloudresourcemanager.googleapis.com"


def _read(kind: Any, body: bytes) -> Any:
    plain = getattr(kind, "plain", None)
    return plain.FromString(body) if plain is not None else json.loads(body)


def _plain(kind: Any, name: str, pb: Any) -> dict[str, Any]:
    """The resource as its API answers it, as JSON."""
    if isinstance(pb, dict):
        return pb
    return dict(MessageToDict(kind.present(name, pb)))


def _entry(masked: "_Masked", service: Service, kind: Any, name: str, pb: Any) -> Entry:
    document = masked.document(_plain(kind, name, pb))
    short = service.title.partition(".")[0]
    paths = KEY_FIELDS.get(f"{short}/{kind.name}") or KEY_FIELDS.get(kind.name, ())
    told = ((_label(path), _shown(_at(document, path))) for path in paths)
    process = ("running" if kind.alive(pb) else "down") if kind.backed else ""
    state = STATE_PREFIX.sub("", kind.state_name(pb) or str(document.get("state", "")))
    return Entry(
        service.name, kind.name, name, state, kind.where(pb), process,
        tuple((label, value) for label, value in told if value),
    )  # fmt: skip


def _at(document: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(document, list):
            document = document[int(part)] if len(document) > int(part) else None
        else:
            document = (document or {}).get(part)
    return document


def _label(path: str) -> str:
    words = [part for part in path.split(".") if not part.isdigit()][-1]
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words).lower()


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_shown(inner)}" if inner else key for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "" if value is None else str(value)
    return text.rpartition("/")[2] if "/global/networks/" in text else text


def _done(rows: Iterable[OperationRow]) -> list[OperationRow]:
    return sorted((row for row in rows if row.done is not None), key=lambda row: row.done or 0.0)


def _line(core: Core, row: OperationRow) -> OperationLine:
    mishap = core.operations.mishap(row.name)
    if row.done is None:
        outcome, error = mishap.effect if mishap else "under way", ""
    elif row.error is not None:
        status = status_pb2.Status.FromString(row.error)
        outcome, error = code_pb2.Code.Name(status.code), status.message
    else:
        outcome, error = "done", ""
    seconds = (row.done or time.time()) - row.created
    return OperationLine(row.name, row.rpc, row.target, row.created, seconds, outcome, error)


class _Masked:
    """Replaces the secrets that the cloud keeps, wherever they stand, and what is called one."""

    def __init__(self, core: Core) -> None:
        known = (value for scope in SECRET_FACTS for value in core.store.facts(scope).values())
        texts = [value.decode(errors="replace") for value in known]
        for row in core.store.children("google.cloud.alloydb.v1.AlloyDBAdmin", "Cluster", None):
            from google.cloud import alloydb_v1

            texts.append(alloydb_v1.Cluster.pb().FromString(row.body).initial_user.password)
        self._known = sorted({each for each in texts if len(each) >= SHORTEST_SECRET}, key=len)

    def document(self, value: Any, name: str = "") -> Any:
        """A JSON value without secrets; ``name`` is the key under which it stands."""
        if isinstance(value, dict):
            own = str(value.get("name", ""))
            return {
                key: self.document(inner, own if key == "value" else key)
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self.document(inner, name) for inner in value]
        if not isinstance(value, str):
            return value
        if value and SECRET_NAME.search(name) and "/secrets/" not in value:
            return MASK
        for secret in reversed(self._known):
            value = value.replace(secret, MASK)
        return URL_PASSWORD.sub(rf"\1:{MASK}@", value)
