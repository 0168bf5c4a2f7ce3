"""A value that is asked for only so often, however many want it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

ValueT = TypeVar("ValueT")


class Fresh(Generic[ValueT]):
    """The answer of `ask`, at most `fresh_s` seconds old; parallel callers share one question.

    `ask` must be bounded in time. Whoever comes first asks it; when that caller is cancelled, or `ask`
    raises, the next one in line asks again. `clock` is in seconds.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[ValueT]], clock: Callable[[], float], fresh_s: float
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._fresh_s = fresh_s
        self._lock = asyncio.Lock()
        self._kept: tuple[float, ValueT] | None = None

    async def get(self) -> ValueT:
        """The value; raises what `ask` raises."""
        kept = self._current()
        if kept is None:
            async with self._lock:
                kept = self._current()
                if kept is None:
                    value = await self._ask()
                    kept = self._kept = (self._clock(), value)
        return kept[1]

    def _current(self) -> tuple[float, ValueT] | None:
        """What is kept, unless it is too old. A clock that was set back makes it too old as well."""
        kept = self._kept
        return kept if kept is not None and 0 <= self._clock() - kept[0] < self._fresh_s else None
