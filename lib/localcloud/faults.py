"""Faults on demand: what goes wrong, in which calls, how often and when; kept until cleared.

They are kept in the state folder and hold from the next call on, also of a server that runs.
"""

import fnmatch
import json
import random
import time
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from google.rpc import code_pb2

from lib.localcloud.errors import EmbeddedCloudError
from lib.localcloud.rehearsal import Rehearsal

EFFECTS: Final[Mapping[str, str]] = {
    "error": "the call answers with --code; --when after: once its effect has been made",
    "delay": "the call takes --seconds longer",
    "cut": "the TCP connection of the caller is cut, with every call on it",
    "kill": "the server process is killed, as by kill -9; start brings it back",
    "operation-fails": "the operation ends with --code; --when after: though its work is done",
    "operation-hangs": "the operation does not go on until the fault is cleared",
    "operation-lost": "nobody knows the operation; --when before: its work is not done either",
    "stale-read": "the call reads everything as it was when the server learned of the fault",
    "deny": "a permission that matches --permission is withdrawn, also from the owner",
}
ON_OPERATIONS: Final = ("operation-fails", "operation-hangs", "operation-lost")
WHEN: Final = ("before", "after")
CODES: Final = tuple(name for name in code_pb2.Code.keys() if name != "OK")  # noqa: SIM118
EVERYTHING: Final = "*"
KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "str": (str,), "int": (int,), "float": (int, float),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    ``method`` is a glob of RPCs or of SERVICE/RPC; a service answers to its protobuf name, its
    class (AlloyDBAdmin), its host (alloydb.googleapis.com) and its short name (alloydb).
    ``resource`` is a glob of full names or of ids.  Of the matching calls the first ``skip``
    pass, then ``rate`` of them (0 to 1) are struck, ``times`` at most (0: without end), from
    ``begin`` seconds after it was added on, for ``last`` seconds (0: without end).
    """

    effect: str
    method: str = EVERYTHING
    resource: str = EVERYTHING
    code: str = "UNAVAILABLE"
    when: str = "before"
    seconds: float = 0.0
    message: str = "a fault that was asked for"
    reason: str = ""
    permission: str = EVERYTHING
    times: int = 0
    skip: int = 0
    rate: float = 1.0
    begin: float = 0.0
    last: float = 0.0

    def __post_init__(self) -> None:
        _require(self.effect in EFFECTS, "effect", self.effect, _one_of(EFFECTS))
        _require(self.code in CODES, "code", self.code, _one_of(CODES))
        _require(self.when in WHEN, "when", self.when, _one_of(WHEN))
        _require(0 <= self.rate <= 1, "rate", self.rate, "0 to 1")
        for name in ("seconds", "times", "skip", "begin", "last"):
            value = getattr(self, name)
            _require(value >= 0, name, value, "a number not below 0")
        told = self.effect != "delay" or self.seconds > 0
        _require(told, "seconds", self.seconds, "how many seconds the call is delayed")

    def matches(self, names: Collection[str], rpc: str, resource: str) -> bool:
        """Whether a call of ``rpc`` of the service with these ``names`` may be struck."""
        service, _, own = self.method.rpartition("/")
        return (
            _glob(own, [rpc])
            and (not service or _glob(service, names))
            and _glob(self.resource, [resource, resource.rpartition("/")[2]])
        )

    def told(self) -> str:
        """The fault as a sentence's half, for lists."""
        plain = Fault(self.effect, seconds=self.seconds)
        settings = [
            f"{each.name}={getattr(self, each.name)}"
            for each in fields(self)
            if each.name != "effect"
            and (each.name == "seconds" or getattr(self, each.name) != getattr(plain, each.name))
            and getattr(self, each.name)
        ]
        if self.effect in ("error", "operation-fails") and self.code == plain.code:
            settings.insert(0, f"code={self.code}")
        return " ".join([self.effect, *settings])


def _glob(pattern: str, values: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(value.lower(), pattern.lower()) for value in values)


def _one_of(values: Iterable[str]) -> str:
    return "one of " + ", ".join(values)


def _require(holds: bool, name: str, value: object, accepted: str) -> None:
    if not holds:
        raise EmbeddedCloudError(
            f"{name} of a fault is {value!r}.", expected=accepted,
            remedy="python -m lib.localcloud faults add --help",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Standing:
    """A fault that was added: its number, when, and how many calls it has seen and struck."""

    id: int
    fault: Fault
    added: float
    seen: int
    struck: int

    def due(self, now: float) -> bool:
        """Whether it may strike now."""
        fault, age = self.fault, now - self.added
        begun = age >= fault.begin and (not fault.last or age < fault.begin + fault.last)
        return begun and not (fault.times and self.struck >= fault.times)


class Faults:
    """The faults of one state folder."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = rehearsal
        self._read: dict[int, Fault] = {}

    def add(self, faults: Sequence[Fault]) -> list[int]:
        """Add all of them or none; their numbers."""
        numbers = []
        with self._rehearsal.transaction():
            for fault in faults:
                row = self._rehearsal.rows(
                    "INSERT INTO faults (body, added) VALUES (?, ?) RETURNING id",
                    json.dumps(asdict(fault)), time.time(),
                )  # fmt: skip
                numbers.append(int(row[0][0]))
        return numbers

    def all(self) -> list[Standing]:
        """Every fault that was added and not cleared, also those that are used up."""
        rows = self._rehearsal.rows("SELECT id, body, added, seen, struck FROM faults ORDER BY id")
        return [
            Standing(number, self._fault(number, body), added, seen, struck)
            for number, body, added, seen, struck in rows
        ]

    def _fault(self, number: int, body: str) -> Fault:
        if number not in self._read:
            self._read[number] = Fault(**json.loads(body))
        return self._read[number]

    def clear(self, numbers: Collection[int] = ()) -> int:
        """Take some faults back, or all; how many those were.  Raises for an unknown number."""
        with self._rehearsal.transaction():
            known = {each.id for each in self.all()}
            unknown = sorted(set(numbers) - known)
            if unknown:
                raise EmbeddedCloudError(
                    f"There is no fault {', '.join(map(str, unknown))}.",
                    expected=_one_of(map(str, sorted(known))) if known else "none is set",
                    remedy="python -m lib.localcloud faults list",
                )
            gone = set(numbers) or known
            for number in gone:
                self._rehearsal.rows("DELETE FROM faults WHERE id = ?", number)
        return len(gone)

    def upon(
        self, names: Collection[str], rpc: str, resource: str, *, operation: bool, reads: bool
    ) -> list[Standing]:
        """The faults that strike this call; they count it."""
        matching = [
            each
            for each in self.all()
            if each.fault.effect != "deny"
            and (operation or each.fault.effect not in ON_OPERATIONS)
            and (reads or each.fault.effect != "stale-read")
            and each.fault.matches(names, rpc, resource)
        ]
        return self._strike({each.id for each in matching}) if matching else []

    def withdrawn(self, permission: str, resource: str, *, count: bool) -> bool:
        """Whether a fault takes the permission on the resource away from everybody."""
        matching = {
            each.id
            for each in self.all()
            if each.fault.effect == "deny"
            and _glob(each.fault.permission, [permission])
            and _glob(each.fault.resource, [resource, resource.rpartition("/")[2]])
        }
        if not matching:
            return False
        if count:
            return bool(self._strike(matching))
        now = time.time()
        return any(each.due(now) for each in self.all() if each.id in matching)

    def moments(self) -> list[int]:
        """The numbers of the faults for which the state is kept as it was."""
        return [each.id for each in self.all() if each.fault.effect == "stale-read"]

    def stands(self, number: int) -> bool:
        """Whether a fault was not cleared yet."""
        return bool(self._rehearsal.rows("SELECT 1 FROM faults WHERE id = ?", number))

    def _strike(self, numbers: Collection[int]) -> list[Standing]:
        struck, now = [], time.time()
        with self._rehearsal.transaction():
            for each in self.all():
                if each.id not in numbers or not each.due(now):
                    continue
                hits = each.seen >= each.fault.skip and random.random() < each.fault.rate
                self._rehearsal.rows(
                    "UPDATE faults SET seen = seen + 1, struck = struck + ? WHERE id = ?",
                    int(hits), each.id,
                )  # fmt: skip
                if hits:
                    struck.append(each)
        return struck


def read(path: Path) -> list[Fault]:
    """The faults of a TOML file of ``[[fault]]`` tables; raises ``EmbeddedCloudError``."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise EmbeddedCloudError(
            f"{path}: the faults can't be read: {error}.", expected="a TOML file",
            remedy="see python -m lib.localcloud faults load --help",
        ) from error  # fmt: skip
    tables = document.get("fault")
    if set(document) != {"fault"} or not isinstance(tables, list):
        raise EmbeddedCloudError(
            f"{path} holds {', '.join(sorted(document)) or 'nothing'}.",
            expected="[[fault]] tables and nothing else",
            remedy="see python -m lib.localcloud faults load --help",
        )
    return [_from_table(table, path, number) for number, table in enumerate(tables, 1)]


def _from_table(table: Any, path: Path, number: int) -> Fault:
    known = {each.name: each.type for each in fields(Fault)}
    where = f"{path}: fault {number}"
    table = table if isinstance(table, dict) else {"": table}
    for key, value in table.items():
        right = KINDS.get(str(_name(known.get(key))))
        if right is None or isinstance(value, bool) or not isinstance(value, right):
            accepted = f"{key} = a {_name(known[key])}" if key in known else _one_of(known)
            raise EmbeddedCloudError(f"{where}: {key} = {value!r}.", expected=accepted)
    if "effect" not in table:
        raise EmbeddedCloudError(f"{where}: effect is missing.", expected=_one_of(EFFECTS))
    try:
        return Fault(**table)
    except EmbeddedCloudError as error:
        raise EmbeddedCloudError(
            f"{where}: {error.what}", expected=error.expected, remedy=error.remedy
        ) from error


def _name(kind: Any) -> Any:
    return getattr(kind, "__name__", kind)
