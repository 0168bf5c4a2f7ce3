"""How many runs at a time: a slot for each, a bounded queue before them, then a refusal."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from executor.sandbox.errors import ExecutorBusy


class Slots:
    """Slot numbers `0..count-1`, handed out in order of arrival."""

    def __init__(self, count: int, queue: int, max_wait_s: float) -> None:
        self.count = count
        self._queue = queue
        self._max_wait_s = max_wait_s
        self._free = deque(range(count))
        self._waiting: deque[asyncio.Future[int]] = deque()

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Hold a slot. Raises `ExecutorBusy` at once when the queue is full, or after `max_wait_s`."""
        number = await self._take()
        try:
            yield number
        finally:
            self._give_back(number)

    async def _take(self) -> int:
        if self._free:
            return self._free.popleft()
        if len(self._waiting) >= self._queue:
            raise self._busy()
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._max_wait_s):
                return await turn
        except (TimeoutError, asyncio.CancelledError) as exc:
            if turn.done() and not turn.cancelled():
                self._give_back(turn.result())  # it came as we were leaving
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(exc, TimeoutError):
                raise self._busy() from None
            raise

    def _give_back(self, number: int) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(number)
                return
        self._free.append(number)

    def _busy(self) -> ExecutorBusy:
        return ExecutorBusy(
            f"All {self.count} slots are busy and {len(self._waiting)} runs are waiting; try again.",
            retry_after_s=max(1, round(self._max_wait_s / 2)),
        )
