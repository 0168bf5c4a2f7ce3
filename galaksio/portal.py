"""An event loop in a thread of its own, so that programs without one can use what needs one."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


class Portal:
    """Runs coroutines to their end for any thread, also for one that has an event loop running."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="galaksio", daemon=True)
        self._closing = threading.Lock()
        self._thread.start()

    @property
    def is_open(self) -> bool:
        return not self._loop.is_closed()

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """What `work` returns or raises. When the caller is interrupted, so is the work."""
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("this client is closed: make a new one")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncGenerator[ResultT, None]) -> Iterator[ResultT]:
        """The items, one by one."""
        try:
            while True:
                try:
                    yield self.run(anext(items))
                except StopAsyncIteration:
                    return
        finally:
            self.run(items.aclose())

    def close(self) -> None:
        """End the thread; a second time does nothing."""
        with self._closing:
            if self._loop.is_closed():
                return
            self.run(_all_cancelled())
            self.run(self._loop.shutdown_default_executor())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _all_cancelled() -> None:
    """Whatever another thread still waits for is broken off."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
