"""A value that a dry run cannot know: it passes through code until somebody needs it."""

from typing import NoReturn


class UnknownUntilApplied(Exception):
    """A dry run reached a place that needs a value which only applying can give."""


class Unknown:
    """Stands for what ``source`` would give once applied; using its value raises."""

    __slots__ = ("_source",)

    def __init__(self, source: str) -> None:
        object.__setattr__(self, "_source", source)

    def __getattr__(self, name: str) -> "Unknown":
        if name.startswith("__"):
            raise AttributeError(name)
        return Unknown(f"{self._source}.{name}")

    def __repr__(self) -> str:
        return f"<unknown until applied: {self._source}>"

    def _needed(self, *_: object) -> NoReturn:
        raise UnknownUntilApplied(f"needs {self._source}")

    __str__ = __format__ = __int__ = __float__ = __bool__ = __iter__ = __len__ = _needed
    __getitem__ = __contains__ = __eq__ = __hash__ = __lt__ = __gt__ = __add__ = __fspath__ = (
        _needed
    )
    __le__ = __ge__ = __index__ = __mod__ = __rmod__ = __floordiv__ = __rtruediv__ = _needed
    __call__ = __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = __truediv__ = _needed
