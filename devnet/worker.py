"""The one thread that owns the chain, and the event loop's way to it."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

from devnet.chain import DevnetChain
from shared.errors import GalaksioError, Unavailable

MAX_WAITING = 1024
"""Calls that may wait for the thread; a settlement takes about 10 ms."""
CALL_TIMEOUT_S = 20.0

P = ParamSpec("P")
T = TypeVar("T")


class ChainBusy(Unavailable):
    """The call was not started."""

    code = "devnet_busy"


class ChainTimeout(GalaksioError):
    """The call was started and is still running: nobody knows its outcome yet."""

    status = 504
    code = "devnet_timeout"
    retryable = True


class ChainWorker:
    """Runs functions that take the chain, one after the other, off the event loop.

    `open_chain` runs on the thread at once (SQLite and py-evm belong to the thread that made them); what it
    raises, this raises.
    """

    def __init__(
        self,
        open_chain: Callable[[], DevnetChain],
        *,
        max_waiting: int = MAX_WAITING,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="devnet-chain")
        self._waiting = 0
        self._max_waiting = max_waiting
        self._timeout_s = timeout_s
        try:
            self.chain = self._thread.submit(open_chain).result()
        except BaseException:
            self._thread.shutdown()
            raise

    async def run(
        self, function: Callable[Concatenate[DevnetChain, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `function(chain, ...)` on the thread. Raises `ChainBusy`, `ChainTimeout`, and what
        `function` raises."""
        if self._waiting >= self._max_waiting:
            raise ChainBusy("The devnet has too much to do; try again.", retry_after_s=1)
        context = contextvars.copy_context()
        future = self._thread.submit(lambda: context.run(function, self.chain, *args, **kwargs))
        self._waiting += 1
        answer = asyncio.wrap_future(future)
        answer.add_done_callback(self._finished)
        try:
            # Shielded: a call holds its place in the queue until it has ended, waited for or not.
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(answer)
        except TimeoutError:
            if future.cancel():
                raise ChainBusy("The devnet has too much to do; try again.", retry_after_s=1) from None
            raise ChainTimeout("The devnet is still working on it; ask again.", retry_after_s=1) from None

    def _finished(self, answer: "asyncio.Future[Any]") -> None:
        self._waiting -= 1
        if not answer.cancelled():
            answer.exception()  # seen, even when the caller is gone

    def close(self) -> None:
        """Finish what is running and what waits, then close the state file."""
        self._thread.submit(self.chain.close)
        self._thread.shutdown(wait=True)
