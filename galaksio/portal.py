"""An event loop in a thread of its own, so that programs without one can use what needs one."""

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import suppress
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


class Portal:
    """Runs coroutines to their end for any thread, also for one that has an event loop running.

    Its thread ends when it is closed, or when nobody knows it any more.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_serve, args=(self._loop,), name="galaksio", daemon=True)
        self._lock = threading.Lock()
        self._closed = False
        self._forgotten = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """What `work` returns or raises. When the caller is interrupted, so is the work."""
        with self._lock:  # what is begun after the end of the loop would be waited for in vain
            if self._closed:
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
                    yield self.run(_next_of(items))
                except StopAsyncIteration:
                    return
        finally:
            with suppress(RuntimeError):  # closed meanwhile, and so are they
                self.run(items.aclose())

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Break off what other threads wait for, run `last`, and end the thread; once."""
        with self._lock:
            if self._closed:
                last.close()
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(_ended(last), self._loop).result()
        self._forgotten()
        self._thread.join()


async def _next_of(items: AsyncGenerator[ResultT, None]) -> ResultT:
    return await anext(items)


async def _ended(last: Coroutine[Any, Any, None]) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await last


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
