"""Who may run now: a slot and memory for each run, and no more of them once the executor is being stopped."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from executor.sandbox.errors import ExecutorDraining
from executor.sandbox.slots import Slot, Slots


class Admission:
    """Holds every run by the timeout that ends it when we stop."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self._runs: dict[asyncio.Timeout, bool] = {}
        self._none = asyncio.Event()
        self._none.set()

    @asynccontextmanager
    async def admitted(self, memory_mb: int, waits: Callable[[], None] | None = None) -> AsyncIterator[Slot]:
        """Hold a slot until the run ends or is ended. Raises `ExecutorBusy`, `ExecutorDraining` and so on.

        `waits` is called when there is none at once.
        """
        ending = asyncio.timeout(None)
        self._runs[ending] = False
        self._none.clear()
        try:
            async with ending, self.slots.slot(memory_mb, waits) as slot:
                self._runs[ending] = True
                yield slot
        except TimeoutError:
            if ending.expired():
                raise draining() from None
            raise
        finally:
            del self._runs[ending]
            if not self._runs:
                self._none.set()

    async def end(self, grace_s: float) -> None:
        """Refuse what waits for its turn, let what runs go on for `grace_s`; returns when all is over."""
        now_s = asyncio.get_running_loop().time()
        for run, has_slot in self._runs.items():
            run.reschedule(now_s + grace_s if has_slot else now_s)
        await self._none.wait()


def draining() -> ExecutorDraining:
    return ExecutorDraining("The executor is being stopped; try again.", retry_after_s=10)
