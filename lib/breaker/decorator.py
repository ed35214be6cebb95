"""``@circuit_break``, for functions, coroutines and both kinds of generators; and fallbacks."""

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, Generic, ParamSpec, TypeVar, overload

from lib.breaker.breaker import CircuitBreaker
from lib.breaker.config import CircuitBreakerConfig
from lib.breaker.registry import CircuitBreakerRegistry
from lib.breaker.registry import registry as shared

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F")


class WithFallback(Generic[F]):
    """A breaker whose calls return ``fallback(cause)`` instead of raising.

    ``on`` are the exceptions that it stands in for: ``CircuitOpenError`` alone, for instance.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        fallback: Callable[[Exception], F],
        on: type[Exception] | tuple[type[Exception], ...] = Exception,
    ) -> None:
        self.breaker = breaker
        self._fallback = fallback
        self._on = on

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R | F:
        """Call through the breaker; the fallback sees the exception that it replaces."""
        try:
            return self.breaker.call(function, *args, **kwargs)
        except self._on as cause:
            return self._fallback(cause)

    async def acall(
        self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R | F:
        """Await through the breaker; the fallback sees the exception that it replaces."""
        try:
            return await self.breaker.acall(function, *args, **kwargs)
        except self._on as cause:
            return self._fallback(cause)


class _Fallback(Generic[F]):
    """The decorator that ``circuit_break`` gives when it has a fallback."""

    def __init__(self, guarded: WithFallback[F]) -> None:
        self._guarded = guarded

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R | F]]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Callable[P, R | F]: ...
    def __call__(self, function: Callable[P, Any]) -> Callable[P, Any]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__qualname__} is a generator: it can have no fallback")
        guarded = self._guarded
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaiting(*args: P.args, **kwargs: P.kwargs) -> Any:
                return await guarded.acall(function, *args, **kwargs)

            return awaiting

        @functools.wraps(function)
        def calling(*args: P.args, **kwargs: P.kwargs) -> Any:
            return guarded.call(function, *args, **kwargs)

        return calling


@overload
def circuit_break(
    name: str | None = None,
    *,
    config: CircuitBreakerConfig | None = None,
    breaker: CircuitBreaker | None = None,
    registry: CircuitBreakerRegistry = shared,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
@overload
def circuit_break(
    name: str | None = None,
    *,
    fallback: Callable[[Exception], F],
    on: type[Exception] | tuple[type[Exception], ...] = Exception,
    config: CircuitBreakerConfig | None = None,
    breaker: CircuitBreaker | None = None,
    registry: CircuitBreakerRegistry = shared,
) -> _Fallback[F]: ...
def circuit_break(
    name: str | None = None,
    *,
    fallback: Callable[[Exception], Any] | None = None,
    on: type[Exception] | tuple[type[Exception], ...] = Exception,
    config: CircuitBreakerConfig | None = None,
    breaker: CircuitBreaker | None = None,
    registry: CircuitBreakerRegistry = shared,
) -> Any:
    """Guard a function by the breaker of this name, or by one that is given.

    Coroutine functions are awaited; of a generator, sync or async, the first item is guarded.
    Raises ``TypeError`` when not exactly one of ``name`` and ``breaker`` is given.
    """
    if (name is None) == (breaker is None):
        raise TypeError("circuit_break takes a name or a breaker, one of the two")
    guard = breaker if breaker is not None else registry.breaker(name or "", config)
    if fallback is not None:
        return _Fallback(WithFallback(guard, fallback, on))
    return functools.partial(_guarded, guard)


def _guarded(breaker: CircuitBreaker, function: Callable[P, Any]) -> Callable[P, Any]:
    if inspect.isasyncgenfunction(function):
        guarded: Callable[P, Any] = _async_items(breaker, function)
    elif inspect.isgeneratorfunction(function):
        guarded = _items(breaker, function)
    elif inspect.iscoroutinefunction(function):
        acall = breaker.acall

        async def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await acall(function, *args, **kwargs)
    else:
        call = breaker.call

        def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
            return call(function, *args, **kwargs)

    return functools.wraps(function)(guarded)


class _Resumed(Generator[Any, Any, Any]):
    """A generator whose first item has been taken already, and is given first."""

    def __init__(self, items: Generator[Any, Any, Any], first: Any) -> None:
        self._items = items
        self._first = [first]

    def send(self, value: Any) -> Any:
        return self._first.pop() if self._first else self._items.send(value)

    def throw(self, *error: Any) -> Any:
        return self._items.throw(*error)

    def close(self) -> None:
        self._items.close()


def _items(
    breaker: CircuitBreaker, function: Callable[P, Generator[Any, Any, Any]]
) -> Callable[P, Generator[Any, Any, Any]]:
    def guarded(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
        with breaker.permit():
            items = function(*args, **kwargs)
            try:
                first = next(items)
            except StopIteration as end:
                return end.value
        return (yield from _Resumed(items, first))

    return guarded


def _async_items(
    breaker: CircuitBreaker, function: Callable[P, AsyncGenerator[Any, Any]]
) -> Callable[P, AsyncGenerator[Any, Any]]:
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        with breaker.permit():
            items = function(*args, **kwargs)
            try:
                item = await anext(items)
            except StopAsyncIteration:
                return
        try:
            while True:
                try:
                    sent = yield item
                except GeneratorExit:
                    raise
                except BaseException as error:
                    item = await items.athrow(error)
                else:
                    item = await items.asend(sent)
        except StopAsyncIteration:
            return
        finally:
            await items.aclose()

    return guarded
