"""The words in which scenarios are written: a step, a scenario, the whole life of a kind.

A request names things by words: ``{p}`` the project, ``{l}`` its location, ``{id}`` this run,
and whatever an earlier answer was remembered as.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from lib.localcloud import contract
from tests.localcloud.conftest import CLIENTS

Values = dict[str, Any]
STRANGER = "stranger"


@dataclass(frozen=True)
class Step:
    """One call and what it must come to.

    ``shows`` is a part of the response, ``items`` how many of this run's things a list has,
    ``remember`` fields of the response by the word they are kept under.  ``unmake`` is the call
    that takes back what this one makes, ``find`` the list that has it where its name is not known
    yet; ``who`` is somebody without any role, ``at`` the word of an address of its own; ``given`` a
    word and the value without which the step is not taken.
    """

    about: str
    client: str
    method: str
    request: Values
    code: str = "OK"
    shows: Values = field(default_factory=dict)
    items: int | None = None
    remember: dict[str, str] = field(default_factory=dict)
    unmake: tuple[str, Values] | None = None
    find: tuple[str, Values] | None = None
    who: str = ""
    at: str = ""
    given: tuple[str, str] | None = None


@dataclass(frozen=True)
class Scenario:
    """The steps of one service, in order; what it needs, and what it costs on Google.

    ``needs`` are the APIs, ``before`` what must be there besides them.
    """

    name: str
    steps: tuple[Step, ...]
    needs: tuple[str, ...]
    costs: str
    before: str = ""


@dataclass(frozen=True)
class Row:
    """A kind with the standard methods; its steps follow from it, as in Google's design rules.

    ``required`` is a field without which nothing is made, ``two`` whether a second one is cheap
    enough to make lists longer than a page, ``inside`` what happens while the first one stands.
    A ``numbered`` kind gets its id from the server.
    """

    client: str
    thing: str
    collection: str
    parent: str
    body: Values
    required: str = ""
    plural: str = ""
    numbered: bool = False
    etags: bool = True
    two: bool = False
    above: str = ""
    inside: tuple[Step, ...] = ()

    @property
    def name(self) -> str:
        """The first one's name."""
        return f"{{{self.thing}}}" if self.numbered else f"{self.parent}/{self.collection}/{{id}}-a"

    @property
    def nowhere(self) -> str:
        """The name of one that is not there."""
        none = "1234567890123456789" if self.numbered else "{id}-none"
        return f"{self.parent}/{self.collection}/{none}"

    def steps(self) -> Iterator[Step]:
        """The whole life of the kind."""
        yield from self._absent()
        yield from self._made()
        yield from self._listed()
        yield from self._updated()
        yield from self.inside
        yield from self._deleted()

    @property
    def _plural(self) -> str:
        return self.plural or f"{self.thing}s"

    def _step(self, about: str, verb: str, request: Values, code: str = "OK", **more: Any) -> Step:
        thing = self._plural if verb == "list" else self.thing
        return Step(f"{self.thing}: {about}", self.client, f"{verb}_{thing}", request, code, **more)

    def _create(self, own: str = "a", **changed: Any) -> Values:
        request = {"parent": self.parent, self.thing: self.body}
        if not self.numbered:
            request[f"{self.thing}_id"] = f"{{id}}-{own}"
        if own == "a" and self._takes("Create", "request_id"):
            request["request_id"] = f"{{uuid-{self.thing}}}"
        return {**request, **changed}

    def _absent(self) -> Iterator[Step]:
        own_id = f"{self.thing}_id"
        elsewhere = self.parent.replace("{p}", "{absent}").replace("{l}", "{l-absent}")
        yield self._step("get, not found", "get", {"name": self.nowhere}, "NOT_FOUND")
        yield self._step("get, malformed name", "get", {"name": "nonsense"}, "INVALID_ARGUMENT")
        yield self._step("create, malformed parent", "create", self._create(parent="nonsense"),
                         "INVALID_ARGUMENT")  # fmt: skip
        yield self._step("create, missing project", "create", self._create(parent=elsewhere),
                         "PERMISSION_DENIED")  # fmt: skip
        yield self._step("create, denied", "create", self._create(), "PERMISSION_DENIED",
                         who=STRANGER)  # fmt: skip
        if not self.numbered:
            yield self._step("create, id missing", "create", self._create(**{own_id: ""}),
                             "INVALID_ARGUMENT")  # fmt: skip
            yield self._step("create, malformed id", "create",
                             self._create(**{own_id: "Not An Id"}), "INVALID_ARGUMENT")  # fmt: skip
        if self.required:
            less = {key: value for key, value in self.body.items() if key != self.required}
            yield self._step("create, required field missing", "create",
                             self._create(**{self.thing: less}), "INVALID_ARGUMENT")  # fmt: skip
        if self.above:
            yield self._step("create, parent missing", "create", self._create(parent=self.above),
                             "NOT_FOUND")  # fmt: skip

    def _made(self) -> Iterator[Step]:
        known = {self.thing: "name"} if self.numbered else {}
        if self._takes("Create", "validate_only"):
            only = self._create(validate_only=True)
            only.pop("request_id", None)
            yield self._step("create, validated only", "create", only)
            yield self._step("get what was validated only", "get", {"name": self.name},
                             "NOT_FOUND")  # fmt: skip
        yield self._step("create", "create", self._create(), remember=known,
                         unmake=(f"delete_{self.thing}", {"name": self.name}),
                         find=self._found())  # fmt: skip
        if self._takes("Create", "request_id"):
            yield self._step("create, the same request", "create", self._create())
            yield self._step("create, another request of that id", "create",
                             {**self._create(), f"{self.thing}_id": "{id}-c"},
                             "INVALID_ARGUMENT")  # fmt: skip
        if not self.numbered:
            again = self._create()
            again.pop("request_id", None)
            yield self._step("create, duplicate", "create", again, "ALREADY_EXISTS")
        yield self._step("get", "get", {"name": self.name},
                         remember={"etag": "etag"} if self.etags else {})  # fmt: skip
        yield self._step("get, denied", "get", {"name": self.name}, "PERMISSION_DENIED",
                         who=STRANGER)  # fmt: skip

    def _found(self) -> tuple[str, Values] | None:
        asked = {"parent": self.parent, "filter": "labels.run={id}"}
        return (f"list_{self._plural}", asked) if self.numbered else None

    def _listed(self) -> Iterator[Step]:
        if self.two:
            second = f"{self.parent}/{self.collection}/{{id}}-b"
            known = {}
            if self.numbered:
                second, known = f"{{{self.thing}-b}}", {f"{self.thing}-b": "name"}
            unmake = (f"delete_{self.thing}", {"name": second})
            yield self._step("create another", "create", self._create("b"), remember=known,
                             unmake=unmake, find=self._found())  # fmt: skip
            one = {"parent": self.parent, "page_size": 1}
            yield self._step("list by pages of one", "list", one, items=2)
            yield self._step("delete the other", "delete", {"name": second})
        yield self._step("list", "list", {"parent": self.parent}, items=1)
        token = {"parent": self.parent, "page_token": "%"}
        yield self._step("list, malformed page token", "list", token, "INVALID_ARGUMENT")
        if self._takes("List", "filter"):
            for label, found in (("{id}", 1), ("none", 0)):
                asked = {"parent": self.parent, "filter": f"labels.run={label}"}
                yield self._step(f"list by a filter that {found} meets", "list", asked,
                                 items=found)  # fmt: skip

    def _takes(self, verb: str, field: str) -> bool:
        """Whether the request of a standard method has a field."""
        package, service, kind = CLIENTS[self.client]
        api = contract.load(f"google.cloud.{package}.services.{service}", kind)
        thing = self._plural if verb == "List" else self.thing
        rpc = verb + thing.title().replace("_", "")
        return field in api.methods[rpc].request.DESCRIPTOR.fields_by_name

    def _updated(self) -> Iterator[Step]:
        changed = {"name": self.name, "labels": {"run": "{id}", "changed": "yes"}}
        mask = {"paths": ["labels"]}
        update = {self.thing: changed, "update_mask": mask}
        yield self._step("update by mask", "update", update, shows={"labels": changed["labels"]})
        yield self._step("get what was updated", "get", {"name": self.name},
                         shows={"labels": changed["labels"]})  # fmt: skip
        yield self._step("update, unknown field", "update",
                         {**update, "update_mask": {"paths": ["nonsense"]}},
                         "INVALID_ARGUMENT")  # fmt: skip
        yield self._step("update, not found", "update",
                         {**update, self.thing: {**changed, "name": self.nowhere}},
                         "NOT_FOUND")  # fmt: skip
        if self.etags:
            yield self._step("update, etag of before", "update",
                             {**update, self.thing: {**changed, "etag": "{etag}"}},
                             "ABORTED")  # fmt: skip

    def _deleted(self) -> Iterator[Step]:
        if self.etags:
            yield self._step("delete, etag of before", "delete",
                             {"name": self.name, "etag": "{etag}"}, "ABORTED")  # fmt: skip
        yield self._step("delete, denied", "delete", {"name": self.name}, "PERMISSION_DENIED",
                         who=STRANGER)  # fmt: skip
        yield self._step("delete", "delete", {"name": self.name})
        yield self._step("get what was deleted", "get", {"name": self.name}, "NOT_FOUND")
        yield self._step("delete, not found", "delete", {"name": self.name}, "NOT_FOUND")


def steps_of(scenario: Scenario) -> tuple[Step, ...]:
    """The steps, each told apart from others that are about the same."""
    seen: dict[str, int] = {}
    found = []
    for step in scenario.steps:
        seen[step.about] = number = seen.get(step.about, 0) + 1
        found.append(step if number == 1 else replace(step, about=f"{step.about} ({number})"))
    return tuple(found)
