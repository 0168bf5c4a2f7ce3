"""What a run that has to wait for its slot uses the time for: its sandbox is set up as far as its gate.

A full machine then spends no slot on that, and nothing on a pool, which costs more in all than a start.
"""

import asyncio
from collections.abc import Awaitable, Callable

from executor.sandbox.errors import SandboxFailed
from executor.sandbox.execute import to_the_end
from executor.sandbox.started import Started
from shared.logs import get_logger

log = get_logger(__name__)

Begin = Callable[[], Awaitable[Started]]
"""Starts a sandbox that is held at its gate."""
Step = Callable[[Started], Awaitable[None]]
"""Opens the gate of one, or ends one that nobody took."""


class Ahead:
    """The start of one run. `room` bounds how many stand at their gates or are on their way there."""

    def __init__(self, room: asyncio.Semaphore, begin: Begin, let_go: Step, end: Step) -> None:
        self._room = room
        self._begin = begin
        self._let_go = let_go
        self._end = end
        self._starting: asyncio.Task[Started] | None = None
        self._has_room = False

    def begin(self) -> None:
        """Start it, once there is room."""
        self._starting = asyncio.create_task(self._start())

    async def take(self) -> Started | None:
        """The sandbox, let go, now the caller's; None when it was not begun, had no room yet or failed."""
        starting, self._starting = self._starting, None
        if starting is None:
            return None
        if not self._has_room:
            starting.cancel()
            return None
        try:
            started = await self._taken(starting)
            await self._let_go(started)
        except SandboxFailed as exc:
            log.warning("start_ahead_failed", reason=exc.message)
            return None
        return started

    async def drop(self) -> None:
        """End it if it was not taken."""
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()
            await to_the_end(self._ended(starting))

    async def _start(self) -> Started:
        await self._room.acquire()
        self._has_room = True
        try:
            return await self._begin()
        except BaseException:
            self._room.release()
            raise

    async def _taken(self, starting: "asyncio.Task[Started]") -> Started:
        try:
            started = await starting
        except asyncio.CancelledError:
            await to_the_end(self._ended(starting))
            raise
        self._room.release()
        return started

    async def _ended(self, starting: "asyncio.Task[Started]") -> None:
        await asyncio.wait({starting})
        if not starting.cancelled() and starting.exception() is None:
            self._room.release()
            await self._end(starting.result())
