"""List filters: conditions on fields joined by AND, as ``labels.run=r1 AND state:ACTIVE``."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from lib.localcloud import errors
from lib.localcloud.names import snake

TERM: Final = re.compile(
    r'\s*(?P<path>[\w.-]+)\s*(?P<operator>!=|=|:)\s*(?:"(?P<quoted>[^"]*)"|(?P<bare>[^\s"()]+))'
    r"(?:\s+AND\s+|\s+|$)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Term:
    """One condition; ``:`` asks for a part of a text, ignoring case, or for a label at all."""

    path: tuple[str, ...]
    operator: str
    value: str

    def holds(self, message: Message) -> bool:
        """Whether the message meets the condition."""
        found = _value(message, self.path)
        if self.operator == ":":
            if self.value == "*":
                return found is not None
            return found is not None and self.value.rstrip("*").lower() in found.lower()
        return (found == self.value) is (self.operator == "=")


def parse(text: str, field: str = "filter") -> Callable[[Message], bool]:
    """A predicate for messages; INVALID_ARGUMENT for a syntax that is not supported."""
    terms = []
    position = 0
    while position < len(text.rstrip()):
        match = TERM.match(text, position)
        if match is None:
            raise errors.invalid(
                field, f"cannot read '{text[position:]}'; supported: FIELD=VALUE [AND ...]"
            )
        value = match["quoted"] if match["quoted"] is not None else match["bare"]
        terms.append(Term(tuple(match["path"].split(".")), match["operator"], value))
        position = match.end()
    return lambda message: all(term.holds(message) for term in terms)


def _value(message: Any, path: tuple[str, ...]) -> str | None:
    for index, part in enumerate(path):
        if not isinstance(message, Message):  # a map: the rest is its key
            return message.get(".".join(path[index:])) if hasattr(message, "get") else None
        field = message.DESCRIPTOR.fields_by_name.get(snake(part))
        if field is None:
            return None
        message = getattr(message, field.name)
        if field.enum_type is not None:
            message = field.enum_type.values_by_number[message].name
    if isinstance(message, bool):
        return str(message).lower()
    return str(message)
