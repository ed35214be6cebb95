"""What a kind of resource is: its rules, hooks, states, and how it is kept."""

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from lib.localcloud import errors
from lib.localcloud.contract import field_rules, plain
from lib.localcloud.names import RESOURCE_ID, parent_of, snake

if TYPE_CHECKING:
    from lib.localcloud.core import Call
    from lib.localcloud.service import Service

PAGE: Final = 100
LARGEST_PAGE: Final = 1000
REQUEST_MEMORY_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class States:
    """The numbers of a kind's life-cycle states; 0 where it has no such state."""

    creating: int
    ready: int
    updating: int
    deleting: int
    failed: int = 0
    field: str = "state"


class Resource:
    """One kind of a service; subclasses say what is special about theirs.

    The hooks ``defaults``, ``check``, ``build``, ``change`` and ``remove`` are called with the
    protobuf message.  ``build``, ``change`` and ``remove`` do the work behind an operation and
    must be repeatable.  A kind with a runtime also has ``alive``, ``revive``, ``halt``, ``where``.
    """

    name: ClassVar[str]
    message: ClassVar[Any]
    pattern_key: ClassVar[str] = ""
    permission: str = ""
    plural: ClassVar[str] = ""
    id_pattern: ClassVar[re.Pattern[str]] = RESOURCE_ID
    states: ClassVar[States | None] = None
    required: ClassVar[tuple[str, ...]] = ()
    immutable: ClassVar[tuple[str, ...]] = ()
    documented_only: ClassVar[tuple[str, ...]] = ()
    parent_kind: ClassVar[str] = ""
    numbered: ClassVar[bool] = False
    backed: ClassVar[bool] = False
    holds_parent: ClassVar[bool] = True

    def __init__(self, service: "Service") -> None:
        self.service = service
        self.core = service.core
        self.store = service.core.store
        self.field = snake(self.name)
        self.plural = self.plural or self.name + "s"  # type: ignore[misc]
        self.pattern = service.api.patterns[self.pattern_key or self.field]
        self.collection = self.pattern.split("/")[-2]
        self.permission = f"{(service.title or 'resourcemanager').split('.')[0]}.{self.collection}"
        self.rules = field_rules(self.message)
        self.plain = plain(self.message)
        self.policy_scope = service.name

    # hooks

    def defaults(self, call: "Call", pb: Any) -> None:
        """Fill what the caller left out."""

    def check(self, pb: Any) -> None:
        """Refuse values that Google refuses."""

    def admit(self, parent: str, pb: Any) -> None:
        """Refuse a new resource that ``parent`` has no room for."""

    def build(self, pb: Any) -> None:
        """Make what is behind a new resource; may fill output fields."""

    def change(self, old: Any, new: Any) -> None:
        """Bring what is behind the resource from ``old`` to ``new``."""

    def remove(self, pb: Any) -> None:
        """Remove what is behind the resource."""

    def remove_with_parent(self, pb: Any) -> None:
        """Remove what is behind the resource while what it belongs to is removed too."""
        self.remove(pb)

    def alive(self, _pb: Any) -> bool:
        """Whether the runtime behind the resource is as it should be."""
        return True

    def revive(self, pb: Any) -> None:
        """Start the runtime again."""

    def halt(self, pb: Any) -> None:
        """Stop the runtime, keeping its data."""

    def where(self, _pb: Any) -> str:
        """Address of the runtime, for people."""
        return ""

    # reading and writing

    def find(self, name: str) -> Any | None:
        """The resource of that canonical name, or None."""
        row = self.store.get(self.service.name, name)
        return self.plain.FromString(row.body) if row and row.kind == self.name else None

    def require(self, name: str) -> Any:
        """The resource of that canonical name; NOT_FOUND if there is none."""
        pb = self.find(name)
        if pb is None:
            raise errors.not_found(name, self.name)
        return pb

    def save(self, name: str, pb: Any) -> None:
        """Write the resource, with a new etag where the kind has one."""
        if "etag" in self.plain.DESCRIPTOR.fields_by_name:
            pb.etag = ""
            row = self.store.get(self.service.name, name)
            generation = row.generation if row else 0
            body = pb.SerializeToString(deterministic=True) + b"%d" % generation
            pb.etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
        self.store.put(self.service.name, name, self.name, parent_of(name), pb.SerializeToString())

    def everything(self) -> list[tuple[str, Any]]:
        """Every resource of the kind with its canonical name."""
        rows = self.store.children(self.service.name, self.name, None)
        return [(row.name, self.plain.FromString(row.body)) for row in rows]

    def present(self, name: str, pb: Any) -> Any:
        """The resource as callers see it."""
        if self.numbered and pb.name.startswith("projects/"):
            project = name.split("/")[1]
            shown = self.plain()
            shown.CopyFrom(pb)
            number = self.core.project_number(project)
            shown.name = pb.name.replace(f"projects/{project}/", f"projects/{number}/", 1)
            return shown
        return pb

    # states, etags and operations

    def set_state(self, pb: Any, state: str) -> None:
        """Set the life-cycle field, where the kind has one, and ``reconciling``."""
        if self.states and getattr(self.states, state):
            setattr(pb, self.states.field, getattr(self.states, state))
        if "reconciling" in self.plain.DESCRIPTOR.fields_by_name:
            pb.reconciling = state in ("creating", "updating", "deleting")

    def state_name(self, pb: Any) -> str:
        """The life-cycle state as people read it; empty where the kind has none."""
        if not self.states:
            return ""
        field = self.plain.DESCRIPTOR.fields_by_name[self.states.field]
        return str(field.enum_type.values_by_number[getattr(pb, self.states.field)].name)

    @staticmethod
    def require_etag(pb: Any, given: Any) -> None:
        """ABORTED when the request carries an etag that is not the present one."""
        etag = getattr(given, "etag", "")
        if etag and etag != getattr(pb, "etag", ""):
            raise errors.aborted(f"etag mismatch: '{etag}' was given, '{pb.etag}' is current")

    def require_idle(self, name: str) -> None:
        """ABORTED while an operation on the resource is under way."""
        if any(row.service == self.service.name for row in self.store.open_operations(name)):
            raise errors.aborted(
                f"unable to queue the operation: another one is in progress on '{name}'",
                "OPERATION_IN_PROGRESS",
            )
