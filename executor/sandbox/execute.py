"""Drive one run from its start to the proof that nothing of it is left."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from executor.sandbox.accounting import Account, Usage
from executor.sandbox.capture import Capture, Feeder, OnOutput, listener
from executor.sandbox.limits import END_TIMEOUT_S, LIMITS, Limits

Killed = Literal["timeout", "memory", "output"]
T = TypeVar("T")


@dataclass(frozen=True)
class Ending:
    """How a run ended. `exit_code` is the command's own, or None; `killed` says what we killed it for."""

    exit_code: int | None
    killed: Killed | None
    stdout: bytes
    stderr: bytes
    stdout_truncated: bool
    stderr_truncated: bool
    wall_ms: int
    usage: Usage


class Running(Protocol):
    """A started process: a sandbox, or a bare process group. The pipes are the driver's to close."""

    stdin: int
    stdout: int
    stderr: int
    monitor_pidfd: int
    started_s: float

    def kill(self) -> None:
        """End all of it, at once."""

    def finish(self, account: Account) -> Usage:
        """Wait until all of it is gone, reap it, close the account. Blocks; called once, after `kill`."""

    def exit_code(self) -> int | None:
        """The command's own exit code, once finished."""


class Watch:
    """Asks the account in a worker thread whether the run has to die, and kills it there and then.

    The thread is taken when the first look is due: most runs end before that.
    """

    def __init__(self, account: Account, interval_s: float, kill: Callable[[], None], pool: Executor) -> None:
        self._account = account
        self._interval_s = interval_s
        self._kill = kill
        self._pool = pool
        self._stop = threading.Event()
        self._watching: asyncio.Future[None] | None = None
        self._due = asyncio.get_running_loop().call_later(interval_s, self._begin)
        self.killed = False

    async def stopped(self) -> None:
        """Stop, and wait for the last look to end: the account may be closed then."""
        self._due.cancel()
        self._stop.set()
        if self._watching is not None:
            await self._watching

    def _begin(self) -> None:
        self._watching = asyncio.get_running_loop().run_in_executor(self._pool, self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._account.over():
                self.killed = True
                self._kill()
                return
            self._stop.wait(self._interval_s)


async def execute(
    running: Running,
    account: Account,
    *,
    stdin: bytes,
    timeout_s: float,
    interval_s: float,
    pool: Executor,
    afterwards: Callable[[], T],
    on_output: OnOutput | None = None,
    on_end: Callable[[], None] | None = None,
    limits: Limits = LIMITS,
) -> tuple[Ending, T]:
    """Run to the end, limits included. Kills and reaps everything also when it is cancelled.

    `on_end` is called when the end begins, `afterwards` in a worker thread when nothing of the run is alive.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Killed | None] = loop.create_future()
    flooded = partial(_settle, ended, "output")
    feeder = Feeder(running.stdin, stdin)
    out = Capture(running.stdout, limits, flooded, listener("stdout", on_output))
    err = Capture(running.stderr, limits, flooded, listener("stderr", on_output))
    watch = Watch(account, interval_s, running.kill, pool)

    def reap() -> tuple[Usage, T]:
        return running.finish(account), afterwards()

    async def finish() -> tuple[Usage, T]:
        try:
            await watch.stopped()
            found = await loop.run_in_executor(pool, reap)
            # Every writer is gone, so what is left in the pipes ends now.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_TIMEOUT_S):
                    await out.ended()
                    await err.ended()
            return found
        finally:
            for end in (feeder, out, err):
                end.close()

    killed: Killed | None = None
    try:
        killed = await _first_end(running, timeout_s, ended)
    finally:
        wall_ms = round((time.monotonic() - running.started_s) * 1000)
        running.kill()
        if on_end:
            on_end()
        usage, found = await to_the_end(finish())
    if watch.killed or usage.oom_killed:
        killed = "memory"
    ending = Ending(
        exit_code=running.exit_code(),
        killed=killed,
        stdout=bytes(out.data),
        stderr=bytes(err.data),
        stdout_truncated=out.truncated,
        stderr_truncated=err.truncated,
        wall_ms=wall_ms,
        usage=usage,
    )
    return ending, found


async def _first_end(
    running: Running, timeout_s: float, ended: "asyncio.Future[Killed | None]"
) -> Killed | None:
    """Wait for the command's end (None) or for the reason to kill it."""
    loop = asyncio.get_running_loop()
    clock = loop.call_later(timeout_s, _settle, ended, "timeout")
    loop.add_reader(running.monitor_pidfd, _settle, ended, None)  # readable: the process has ended
    try:
        return await ended
    finally:
        clock.cancel()
        loop.remove_reader(running.monitor_pidfd)


def _settle(ended: "asyncio.Future[Killed | None]", how: Killed | None) -> None:
    if not ended.done():
        ended.set_result(how)


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Finish `work` even if we are cancelled meanwhile; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
