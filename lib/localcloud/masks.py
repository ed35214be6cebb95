"""Field masks: which fields an update names, and carrying them over."""

from collections.abc import Iterable
from typing import Any

from google.protobuf.message import Message

from lib.localcloud import errors
from lib.localcloud.names import snake


def paths(mask: Any, update: Message) -> list[str]:
    """The mask's paths in snake case; an empty mask means every field that is set.

    Raises INVALID_ARGUMENT for a path that the message does not have.
    """
    wanted = [".".join(snake(part) for part in path.split(".")) for path in mask.paths]
    if not wanted or wanted == ["*"]:
        wanted = [descriptor.name for descriptor, _ in update.ListFields()]
        return [path for path in wanted if path not in ("name", "etag")]
    for path in wanted:
        _check(path, update)
    return wanted


def _check(path: str, update: Message) -> None:
    descriptor = update.DESCRIPTOR
    parts = path.split(".")
    for index, part in enumerate(parts):
        field = descriptor.fields_by_name.get(part)
        if field is None:
            raise errors.invalid("update_mask", f"'{path}' is not a field of the resource")
        if field.message_type is None and index + 1 < len(parts):
            raise errors.invalid("update_mask", f"'{path}' goes below a plain value")
        if field.message_type is not None:
            if field.message_type.GetOptions().map_entry:
                return
            descriptor = field.message_type


def merge(target: Message, update: Message, wanted: Iterable[str]) -> None:
    """Replace the named fields of ``target`` with those of ``update``; unset there clears."""
    for path in wanted:
        _carry(target, update, path.split("."))


def _carry(target: Message, update: Message, parts: list[str]) -> None:
    field = target.DESCRIPTOR.fields_by_name[parts[0]]
    entry = field.message_type is not None and field.message_type.GetOptions().map_entry
    if len(parts) > 1 and not entry:
        _carry(getattr(target, parts[0]), getattr(update, parts[0]), parts[1:])
        return
    if len(parts) > 1:
        _carry_entry(getattr(target, parts[0]), getattr(update, parts[0]), parts[1])
        return
    target.ClearField(parts[0])
    if any(descriptor.name == parts[0] for descriptor, _ in update.ListFields()):
        one = type(update)()
        one.CopyFrom(update)
        for descriptor, _ in update.ListFields():
            if descriptor.name != parts[0]:
                one.ClearField(descriptor.name)
        target.MergeFrom(one)


def _carry_entry(target: Any, update: Any, key: str) -> None:
    if key in update:
        target[key] = update[key]
    elif key in target:
        del target[key]
