"""One run from start to end: in a sandbox, or bare."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TypeVar

from executor.sandbox.accounting import Account, Accountant
from executor.sandbox.bare import Bare, NoAccount, launch_bare
from executor.sandbox.capture import OnOutput
from executor.sandbox.errors import JobUnread, SandboxFailed
from executor.sandbox.execute import Ending, execute
from executor.sandbox.launch import Job, Kit, launch
from executor.sandbox.launched import Launched
from executor.sandbox.limits import LIMITS
from executor.sandbox.outputs import Encoding, collect
from executor.sandbox.runtimes import Identity
from shared.jobs import OutputFile

RunningT = TypeVar("RunningT", Launched, Bare)
AccountT = TypeVar("AccountT", bound=Account)
T = TypeVar("T")


@dataclass(frozen=True)
class Feed:
    """What a run is given besides its job: input, seconds of wall clock, how to answer, who listens.

    `on_end` is called when its code has ended, or was ended, and what is left is to be cleared away.
    """

    stdin: bytes
    timeout_s: float
    encoding: Encoding = "utf-8"
    on_output: OnOutput | None = None
    on_end: Callable[[], None] | None = None


@dataclass(frozen=True)
class Finished:
    """How a run ended, and what it left in /box/out."""

    ending: Ending
    files: list[OutputFile]
    files_left_out: bool


async def run_sandboxed(
    kit: Kit, accountant: Accountant, pool: Executor, *, identity: Identity, job: Job, feed: Feed
) -> Finished:
    """Run `job` in a sandbox of its own. Raises `SandboxFailed` when that breaks, not the job."""
    running, account = await start_sandboxed(kit, accountant, pool, identity, job)
    return await finish_sandboxed(running, account, accountant.interval_s, pool, feed)


async def start_sandboxed(
    kit: Kit, accountant: Accountant, pool: Executor, identity: Identity, job: Job, *, held: bool = False
) -> tuple[Launched, Account]:
    """A sandbox with its account: it runs `job`, or waits in its loader. Raises `SandboxFailed`.

    One that is `held` stands at its gate until `let_go`.
    """

    def start() -> tuple[Launched, Account]:
        account = accountant.open(job.limits.memory_bytes)
        try:
            running = launch(kit, job, identity, account)
        except BaseException:
            account.close()
            raise
        if not held:
            try:
                running.go()
            except OSError as exc:
                abandon(running, account)
                raise died_at_gate(exc) from None
        return running, account

    return await _started(pool, start)


def died_at_gate(exc: OSError) -> SandboxFailed:
    return SandboxFailed(f"The sandbox died before its code began: {exc}.")


async def finish_sandboxed(
    running: Launched, account: Account, interval_s: float, pool: Executor, feed: Feed
) -> Finished:
    """Drive what was started to its end. Raises `SandboxFailed` when that breaks, not the job.

    `JobUnread`: it had waited, and ended before the job could begin. `on_end` was not called then.
    """
    unread = False

    def code_ended() -> None:
        nonlocal unread
        unread = running.job_unread
        if feed.on_end and not unread:
            feed.on_end()

    finished = await _drive(running, account, interval_s, pool, replace(feed, on_end=code_ended))
    if unread:
        raise JobUnread("A waiting sandbox ended before its code began.")
    if finished.ending.exit_code is None and finished.ending.killed is None:
        said = finished.ending.stderr[-300:].decode("utf-8", "replace").strip() or "no message"
        raise SandboxFailed(f"The sandbox broke before the code had ended ({said}).")
    return finished


async def run_bare(pool: Executor, job: Job, feed: Feed) -> Finished:
    """Run `job` without a sandbox (`SANDBOX=off`)."""
    running, account = await _started(
        pool, lambda: (launch_bare(job.command, job.files, job.env), NoAccount())
    )
    return await _drive(running, account, 1.0, pool, feed)


async def _drive(
    running: Launched | Bare, account: Account, interval_s: float, pool: Executor, feed: Feed
) -> Finished:
    try:
        ending, (files, left_out) = await execute(
            running,
            account,
            stdin=feed.stdin,
            timeout_s=feed.timeout_s,
            interval_s=interval_s,
            pool=pool,
            on_output=feed.on_output,
            on_end=feed.on_end,
            afterwards=lambda: collect(running.box_fd, feed.encoding, LIMITS),
        )
        return Finished(ending, files, left_out)
    finally:
        running.close()


async def _started(
    pool: Executor, start: Callable[[], tuple[RunningT, AccountT]]
) -> tuple[RunningT, AccountT]:
    """What `start` started. If we are cancelled meanwhile, it is ended first."""
    starting = asyncio.ensure_future(call(pool, start))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait({starting})
        if not starting.cancelled() and starting.exception() is None:
            await call(pool, lambda: abandon(*starting.result()))
        raise


def abandon(running: Launched | Bare, account: Account) -> None:
    """End what nobody drove. Blocks."""
    running.kill()
    running.finish(account)
    running.discard()


async def call(pool: Executor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, work)
