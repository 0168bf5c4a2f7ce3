"""How many runs at a time: each needs a slot and its memory; a bounded queue before them, then a refusal."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from executor.sandbox.errors import ExecutorBusy, SizeUnavailable


@dataclass(eq=False)
class _Turn:
    memory_mb: int
    came: asyncio.Future[None]


@dataclass(eq=False)
class Slot:
    """What a run holds: a place at a core until its code has ended, and its memory until it is gone."""

    free_core: Callable[[], None]
    has_core: bool = True

    def code_ended(self) -> None:
        """The next one may begin while what is left of this one is cleared away."""
        if self.has_core:
            self.has_core = False
            self.free_core()


class Slots:
    """`count` slots and `memory_mb` of memory, handed out in order of arrival."""

    def __init__(self, count: int, queue: int, max_wait_s: float, memory_mb: int | None = None) -> None:
        self.count = count
        self.memory_mb = memory_mb
        self._queue = queue
        self._max_wait_s = max_wait_s
        self.free = count
        self._memory_used_mb = 0
        self._waiting: deque[_Turn] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def retry_after_s(self) -> int:
        return max(1, round(self._max_wait_s / 2))

    def accepts(self, memory_mb: int = 0) -> bool:
        """Whether a run that came now would be started, or wait, but not be refused."""
        if self._waiting or not self._fits(memory_mb):
            return len(self._waiting) < self._queue
        return True

    @asynccontextmanager
    async def slot(self, memory_mb: int = 0, waits: Callable[[], None] | None = None) -> AsyncIterator[Slot]:
        """Hold a slot and its memory. `waits` is called when they do not come at once.

        Raises `ExecutorBusy` at once when the queue is full, or after `max_wait_s`; `SizeUnavailable` when
        there can never be so much memory.
        """
        if self.memory_mb is not None and memory_mb > self.memory_mb:
            raise SizeUnavailable(
                f"A run of {memory_mb} MB does not fit this executor, which has {self.memory_mb} MB for runs "
                "(EXECUTOR_MEMORY_MB)."
            )
        await self._take(memory_mb, waits)
        slot = Slot(lambda: self._give_back(cores=1))
        try:
            yield slot
        finally:
            self._give_back(cores=int(slot.has_core), memory_mb=memory_mb)

    async def _take(self, memory_mb: int, waits: Callable[[], None] | None) -> None:
        if not self._waiting and self._fits(memory_mb):
            self._hand_out(memory_mb)
            return
        if len(self._waiting) >= self._queue:
            raise self._busy()
        turn = _Turn(memory_mb, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        if waits:
            waits()
        try:
            async with asyncio.timeout(self._max_wait_s):
                await turn.came
        except (TimeoutError, asyncio.CancelledError) as exc:
            if turn.came.done() and not turn.came.cancelled():
                self._give_back(cores=1, memory_mb=memory_mb)  # it came as we were leaving
            elif turn in self._waiting:
                self._waiting.remove(turn)
                self._serve()  # a large one in front may have held up those behind it
            if isinstance(exc, TimeoutError):
                raise self._busy() from None
            raise

    def _fits(self, memory_mb: int) -> bool:
        return self.free > 0 and (
            self.memory_mb is None or self._memory_used_mb + memory_mb <= self.memory_mb
        )

    def _hand_out(self, memory_mb: int) -> None:
        self._memory_used_mb += memory_mb
        self.free -= 1

    def _give_back(self, *, cores: int, memory_mb: int = 0) -> None:
        self.free += cores
        self._memory_used_mb -= memory_mb
        self._serve()

    def _serve(self) -> None:
        """Strictly in order: what is large is not overtaken for ever by what is small."""
        while self._waiting:
            turn = self._waiting[0]
            if turn.came.done():
                self._waiting.popleft()
            elif self._fits(turn.memory_mb):
                self._waiting.popleft()
                self._hand_out(turn.memory_mb)
                turn.came.set_result(None)
            else:
                return

    def _busy(self) -> ExecutorBusy:
        return ExecutorBusy(
            f"All {self.count} slots are busy and {len(self._waiting)} runs are waiting; try again.",
            retry_after_s=self.retry_after_s,
        )
