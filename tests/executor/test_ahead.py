"""Runs that wait for a slot: their sandboxes are set up meanwhile and stand at their gates."""

import asyncio
import os
import select
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.sandbox.accounting.cgroup_v1 import CgroupV1
from executor.sandbox.ahead import Ahead
from executor.sandbox.engine import Options, Sandbox
from executor.sandbox.errors import ExecutorBusy, ExecutorDraining
from executor.sandbox.limits import LIMITS
from executor.sandbox.options import cores
from executor.sandbox.started import Started
from shared.jobs import RunRequest, RunResult
from tests.executor.conftest import CGROUP, descendants, opened, runner, until

ROOM = 2 * cores()
LONG = RunRequest(code="import time; time.sleep(60)", timeout_s=60)


@pytest.fixture
async def narrow() -> AsyncIterator[Sandbox]:
    """One slot, no pool, and a run in the slot."""
    made = await opened(Options(slots=1, queue=ROOM + 2, max_wait_s=60))
    assert made.state == "available", made.reason
    yield made
    await made.close()


async def taken(sandbox: Sandbox) -> "asyncio.Task[RunResult]":
    task = asyncio.create_task(sandbox.run(LONG))
    assert await until(lambda: sandbox.slots.free == 0 and len(monitors()) == 1)
    return task


def monitors() -> list[int]:
    """The bwrap processes that are our own children."""
    return [pid for pid in descendants(os.getpid()) if _parent(pid) == os.getpid() and _is_bwrap(pid)]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _is_bwrap(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "bwrap"
    except OSError:
        return False


def kill_and_wait(pid: int) -> None:
    """One that was only told to die is let go as if it lived."""
    pidfd = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        assert select.select([pidfd], [], [], 20)[0]
    finally:
        os.close(pidfd)


async def ended(task: "asyncio.Task[RunResult]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_waits_is_set_up_no_more_than_there_is_room_and_runs_nothing_yet(narrow: Sandbox) -> None:
    first = await taken(narrow)
    [running] = monitors()
    code = "import os; print(os.getpid(), os.listdir('/box'))"
    waiting = [asyncio.create_task(runner(narrow)(code)) for _ in range(ROOM + 2)]
    assert await until(lambda: len(monitors()) == 1 + ROOM)
    await asyncio.sleep(0.3)
    assert len(monitors()) == 1 + ROOM
    for pid in set(monitors()) - {running}:
        # bwrap itself and its child, which has not become the interpreter.
        assert all(_is_bwrap(below) for below in descendants(pid))
    let_go_s = time.monotonic()
    await ended(first)
    ran = await waiting[0]
    took_ms = (time.monotonic() - let_go_s) * 1000
    results = await asyncio.gather(*waiting)
    assert {result.exit_code for result in results} == {0}
    assert {result.stdout for result in results} == {results[0].stdout}
    assert ran.execution_time <= took_ms + 1  # the clock starts at the gate
    assert not monitors()


async def test_a_run_that_leaves_the_queue_takes_what_was_set_up_for_it_along(narrow: Sandbox) -> None:
    first = await taken(narrow)
    for _ in range(2):
        waiting = [asyncio.create_task(narrow.run(LONG)) for _ in range(ROOM)]
        assert await until(lambda: len(monitors()) == 1 + ROOM)
        await asyncio.gather(*(ended(task) for task in waiting))
        assert len(monitors()) == 1
    # Also when it leaves while its sandbox is on its way.
    for pause_s in (0.0, 0.002, 0.01):
        hasty = asyncio.create_task(narrow.run(LONG))
        await asyncio.sleep(pause_s)
        await ended(hasty)
        assert await until(lambda: len(monitors()) == 1)
    await ended(first)
    assert (await runner(narrow)("print(1)")).stdout == "1\n"


async def test_one_whose_turn_does_not_come_is_refused_and_leaves_nothing() -> None:
    sandbox = await opened(Options(slots=1, queue=4, max_wait_s=0.5))
    try:
        first = await taken(sandbox)
        with pytest.raises(ExecutorBusy):
            await sandbox.run(LONG)
        assert len(monitors()) == 1
        await ended(first)
    finally:
        await sandbox.close()
    assert not monitors()


async def test_draining_ends_what_stands_at_its_gate(narrow: Sandbox) -> None:
    first = await taken(narrow)
    waiting = asyncio.create_task(narrow.run(LONG))
    assert await until(lambda: len(monitors()) == 2)
    draining = asyncio.create_task(narrow.drain(60))
    with pytest.raises(ExecutorDraining):
        await waiting
    assert len(monitors()) == 1
    await ended(first)
    await draining


async def test_one_that_died_at_its_gate_is_replaced(narrow: Sandbox) -> None:
    first = await taken(narrow)
    [running] = monitors()
    waiting = asyncio.create_task(runner(narrow)("print('here')"))
    assert await until(lambda: len(monitors()) == 2)
    [held] = set(monitors()) - {running}
    kill_and_wait(held)
    await ended(first)
    assert (await waiting).stdout == "here\n"


@pytest.mark.parametrize("accounting", [CGROUP])
async def test_a_group_is_used_again_and_knows_nothing_of_the_run_before(accounting: str) -> None:
    sandbox = await opened(Options(slots=1, accounting="auto"))
    try:
        run = runner(sandbox)
        folder = "print(open('/proc/self/cgroup').read())"
        heavy = await run("x = bytearray(150_000_000); n = sum(range(10_000_000)); print(n)")
        light = [await run("print(1)") for _ in range(3)]
        assert heavy.cpu_time_ms is not None and heavy.peak_memory_bytes is not None
        assert heavy.peak_memory_bytes > 150_000_000
        for result in light:
            assert result.cpu_time_ms is not None and result.cpu_time_ms < heavy.cpu_time_ms / 2
            assert result.peak_memory_bytes is not None and result.peak_memory_bytes < 60_000_000
        assert (await run(folder)).exit_code == 0
        died = await run("x = bytearray(600_000_000)")
        assert died.oom_killed or died.exit_code
        after = await run("print(1)")
        assert (after.stdout, after.oom_killed) == ("1\n", False)
    finally:
        await sandbox.close()


async def test_threads_that_start_sandboxes_in_their_groups_come_back() -> None:
    try:
        accountant = CgroupV1(LIMITS, 1)
    except OSError as exc:
        pytest.skip(f"no cgroup v1 here: {exc}")
    own = Path("/proc/thread-self/cgroup")
    before = own.read_text()
    account = accountant.open()
    try:
        with account.joined():
            inside = own.read_text()
        assert inside.count("/galaksio-") == 3
        assert own.read_text() == before
    finally:
        account.close()
        accountant.shutdown()


class Starts:
    """Stands in for starting: counts what was begun and ended. A start lasts until it is let through."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0
        self.ended: list[Started] = []
        self.through = asyncio.Event()

    async def begin(self) -> Started:
        self.begun += 1
        try:
            await self.through.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Started(*[None] * 3)  # type: ignore[arg-type]

    async def let_go(self, _: Started) -> None:
        pass

    async def end(self, started: Started) -> None:
        self.ended.append(started)

    def ahead(self, room: asyncio.Semaphore) -> Ahead:
        return Ahead(room, self.begin, self.let_go, self.end)


async def test_a_turn_that_comes_before_there_was_room_begins_nothing_afterwards() -> None:
    starts, room = Starts(), asyncio.Semaphore(1)
    await room.acquire()
    ahead = starts.ahead(room)
    ahead.begin()
    await asyncio.sleep(0)
    assert await ahead.take() is None
    room.release()
    await asyncio.sleep(0.01)
    assert (starts.begun, room.locked()) == (0, False)


async def test_a_start_that_nobody_waits_for_any_more_is_broken_off_and_leaves_its_room() -> None:
    starts, room = Starts(), asyncio.Semaphore(1)
    ahead = starts.ahead(room)
    ahead.begin()
    await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        await ahead.drop()
    assert (starts.begun, starts.cancelled, starts.ended, room.locked()) == (1, 1, [], False)


async def test_one_that_was_ready_and_is_not_wanted_is_ended_once_and_leaves_its_room() -> None:
    starts, room = Starts(), asyncio.Semaphore(1)
    starts.through.set()
    ahead = starts.ahead(room)
    ahead.begin()
    await asyncio.sleep(0.01)
    assert room.locked()
    await ahead.drop()
    await ahead.drop()
    assert (len(starts.ended), room.locked()) == (1, False)
