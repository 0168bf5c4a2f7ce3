"""Drive one run from its start to the proof that nothing of it is left."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from executor.sandbox.accounting import Account, Usage
from executor.sandbox.capture import Capture, Feeder, readable
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
    """Asks the account in a worker thread whether the run has to die, and kills it there and then."""

    def __init__(self, account: Account, interval_s: float, kill: Callable[[], None]) -> None:
        self._account = account
        self._interval_s = interval_s
        self._kill = kill
        self._stop = threading.Event()
        self.killed = False

    def run(self) -> None:
        while not self._stop.wait(self._interval_s):
            if self._account.over():
                self.killed = True
                self._kill()
                return

    def stop(self) -> None:
        self._stop.set()


async def execute(
    running: Running,
    account: Account,
    *,
    stdin: bytes,
    timeout_s: float,
    interval_s: float,
    pool: Executor,
    limits: Limits = LIMITS,
) -> Ending:
    """Run to the end, limits included. Kills and reaps everything also when it is cancelled."""
    loop = asyncio.get_running_loop()
    flooded = asyncio.Event()
    feeder = Feeder(running.stdin, stdin)
    out, err = (
        Capture(fd, limits.output_kept_bytes, limits.output_killed_bytes, flooded)
        for fd in (running.stdout, running.stderr)
    )
    watch = Watch(account, interval_s, running.kill)
    watching = loop.run_in_executor(pool, watch.run)

    async def finish() -> Usage:
        await watching
        usage = await loop.run_in_executor(pool, running.finish, account)
        feeder.close()
        # Every writer is gone, so what is left in the pipes ends now.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_TIMEOUT_S):
                await out.ended()
                await err.ended()
        out.close()
        err.close()
        return usage

    killed: Killed | None = None
    try:
        killed = await _first_end(running, timeout_s, flooded)
    finally:
        wall_ms = round((time.monotonic() - running.started_s) * 1000)
        running.kill()
        watch.stop()
        usage = await to_the_end(finish())
    if watch.killed or usage.oom_killed:
        killed = "memory"
    return Ending(
        exit_code=running.exit_code(),
        killed=killed,
        stdout=bytes(out.data),
        stderr=bytes(err.data),
        stdout_truncated=out.truncated,
        stderr_truncated=err.truncated,
        wall_ms=wall_ms,
        usage=usage,
    )


async def _first_end(running: Running, timeout_s: float, flooded: asyncio.Event) -> Killed | None:
    """Wait for the command's end (None) or for the reason to kill it."""
    ended = asyncio.ensure_future(readable(running.monitor_pidfd))
    flood = asyncio.ensure_future(flooded.wait())
    try:
        await asyncio.wait({ended, flood}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return None
        return "output" if flood.done() else "timeout"
    finally:
        ended.cancel()
        flood.cancel()


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Finish `work` even if we are cancelled meanwhile; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
