"""Plays scenarios at a door and keeps the answers without what differs from run to run."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.localcloud.conftest import filled
from tests.localcloud.doors import REFUSED_BY_THE_CLIENT, Answer, Door
from tests.localcloud.steps import Scenario, Step, steps_of

Values = dict[str, Any]
SKIPPED = "SKIPPED"
OWN = {
    "etag": "{etag}", "uid": "{uid}", "uniqueId": "{number}", "oauth2ClientId": "{number}",
    "projectNumber": "{number}", "host": "{address}", "uri": "{address}", "urls": "{address}",
    "publicEndpointDomainName": "{address}", "controlPlaneIp": "{address}",
    "ipAddress": "{address}", "fingerprint": "{etag}",
    "statusMessage": "{text}", "satisfiesPzs": "{flag}",
}  # fmt: skip
"""Fields whose values are a cloud's own business; that they are there is compared."""

PATTERNS = (
    (re.compile(r"\b[\w.+-]+@[\w.-]+\b"), "{email}"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)"), "{time}"),
    (re.compile(r"operations/[\w.-]+"), "operations/{operation}"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "{uuid}"),
    (re.compile(r"\b[0-9a-f]{16,}\b"), "{hex}"),
    (re.compile(r"\b\d{1,3}(\.\d{1,3}){3}(/\d+)?(:\d+)?\b"), "{address}"),
    (re.compile(r"\b\d{9,}\b"), "{number}"),
)


@dataclass(frozen=True)
class Record:
    """A step and what came of it; ``problems`` say where that is not what it must come to."""

    scenario: str
    step: str
    call: str
    answer: Values
    problems: list[str]

    @property
    def key(self) -> str:
        """The step among those of all scenarios."""
        return f"{self.scenario}: {self.step}"


class Watcher:
    """Is told of each step before it is taken and after it was; this one takes no notice."""

    def begins(self, step: Step, words: dict[str, str]) -> None:
        """Before a step."""

    def ends(self, step: Step, words: dict[str, str]) -> None:
        """After a step that was accepted; ``words`` has what it was remembered as."""


def play(
    scenario: Scenario, door: Door, words: dict[str, str], watcher: Watcher | None = None,
    stranger: bool = True,
) -> Iterator[Record]:  # fmt: skip
    """Take the steps in order; those after one that failed go on with what there is."""
    watcher = watcher or Watcher()
    words = dict(words)
    for step in steps_of(scenario):
        reason = _reason_to_skip(step, door, words, stranger)
        answer = Answer(SKIPPED, message=reason) if reason else _taken(step, door, words, watcher)
        found = _own(asdict(answer), words)
        problems = [] if reason else list(_problems(step, answer, found, words))
        call = f"{step.client}.{step.method}"
        yield Record(scenario.name, step.about, call, normalised(found, words), problems)


def _reason_to_skip(step: Step, door: Door, words: dict[str, str], stranger: bool) -> str:
    if not door.serves(step.client):
        return f"Google's client has no {door.name} transport"
    if step.who and not stranger:
        return "no credentials of somebody without roles were given"
    if step.given and words.get(step.given[0]) != step.given[1]:
        return f"{step.given[0]} is {words.get(step.given[0])}, not {step.given[1]}"
    asked = json.dumps([filled(step.request, words), step.at and words.get(step.at)], default=repr)
    missing = re.search(r"\{[a-z_-]+\}", asked)
    return f"{missing[0]} was not learned in an earlier step" if missing else ""


def _taken(step: Step, door: Door, words: dict[str, str], watcher: Watcher) -> Answer:
    request = filled(step.request, words)
    watcher.begins(step, words)
    answer = door.call(step.client, step.method, request, step.who, words.get(step.at, ""))
    if answer.code == "OK":
        words |= {
            f"{{{word}}}": str(answer.response.get(name, ""))
            for word, name in step.remember.items()
        }
        watcher.ends(step, words)
    if answer.operation:
        words["{operation}"] = answer.operation
    return answer


def _own(answer: Values, words: dict[str, str]) -> Values:
    """The answer with lists that hold this run's things alone."""
    pages = []
    for page in answer["pages"]:
        kept = {
            name: [each for each in value if words["{id}"] in json.dumps(each)]
            for name, value in page.items()
            if isinstance(value, list)
        }
        pages += [kept] if any(kept.values()) else []
    return {**answer, "pages": pages}


def _problems(step: Step, answer: Answer, own: Values, words: dict[str, str]) -> Iterator[str]:
    if answer.code == REFUSED_BY_THE_CLIENT and step.code == "INVALID_ARGUMENT":
        return
    if answer.code != step.code:
        yield f"{answer.code} ({answer.message}), expected {step.code}"
        return
    shown = filled(step.shows, words)
    yield from (
        f"{name} is {answer.response.get(name)!r}, expected {value!r}"
        for name, value in shown.items()
        if not _holds(answer.response.get(name), value)
    )
    items = sum(len(value) for page in own["pages"] for value in page.values())
    if step.items is not None and items != step.items:
        yield f"{items} listed, expected {step.items}"
    if step.request.get("page_size") == 1 and len(own["pages"]) != items:
        yield f"{items} listed on {len(own['pages'])} pages, expected one on each"


def _holds(shown: Any, part: Any) -> bool:
    if isinstance(part, dict) and isinstance(shown, dict):
        return all(_holds(shown.get(name), value) for name, value in part.items())
    return bool(shown == part)


def normalised(value: Any, words: dict[str, str], key: str = "") -> Any:
    """The value with ids, times, numbers, addresses and etags named instead of told."""
    if isinstance(value, dict):
        return {
            _text(name, words): normalised(inner, words, name)
            for name, inner in sorted(value.items())
        }
    if key in OWN and value:
        return OWN[key]
    if isinstance(value, list):
        return [normalised(inner, words, key) for inner in value]
    return _text(value, words) if isinstance(value, str) else value


def _text(text: str, words: dict[str, str]) -> str:
    given = ("{p}", "{id}", "{word}", "{absent}", "{organization}")
    for word in sorted(given, key=lambda each: -len(words.get(each, ""))):
        if words.get(word):
            text = text.replace(words[word], word)
    for pattern, name in PATTERNS:
        text = pattern.sub(name, text)
    return text


@dataclass(frozen=True)
class Difference:
    """Where two recordings of a step are not the same; ``what`` is a path in the answer."""

    step: str
    what: str
    left: str
    right: str


def compare(left: Sequence[Record], right: Sequence[Record]) -> list[Difference]:
    """The differences by step; steps that one side could not take are left out."""
    others = {each.key: each for each in right}
    found = []
    for each in left:
        other = others.get(each.key)
        if other is None or SKIPPED in (each.answer["code"], other.answer["code"]):
            continue
        found += [
            Difference(each.key, what, one, another)
            for what, one, another in _differences(each.answer, other.answer, "")
        ]
    return found


def _differences(left: Any, right: Any, path: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(left, dict) and isinstance(right, dict):
        for name in sorted({*left, *right}):
            inner = f"{path}.{name}".strip(".")
            yield from _differences(left.get(name), right.get(name), inner)
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for number, (one, another) in enumerate(zip(left, right, strict=True)):
            yield from _differences(one, another, f"{path}[{number}]")
    elif left != right:
        yield path, _shown(left), _shown(right)


def _shown(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
