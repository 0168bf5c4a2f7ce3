"""The bounded queue before the slots."""

import asyncio

import pytest

from executor.sandbox.engine import Options
from executor.sandbox.errors import ExecutorBusy, SizeUnavailable
from executor.sandbox.slots import Slots
from tests.executor.conftest import opened, runner


async def hold(slots: Slots, release: asyncio.Event, order: list[int], name: int) -> None:
    async with slots.slot():
        order.append(name)
        await release.wait()


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    slots, release, order = Slots(1, 1, 5.0), asyncio.Event(), list[int]()
    tasks = [asyncio.create_task(hold(slots, release, order, n)) for n in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(ExecutorBusy) as caught:
        async with slots.slot():
            pass
    assert (caught.value.status, caught.value.code) == (503, "executor_busy")
    assert int(caught.value.headers["Retry-After"]) >= 1
    release.set()
    await asyncio.gather(*tasks)
    assert (order, slots.free, slots.waiting) == ([0, 1], 1, 0)


async def test_waiting_ends_after_the_longest_wait_and_the_slot_is_not_lost() -> None:
    slots, release = Slots(1, 4, 0.05), asyncio.Event()
    holder = asyncio.create_task(hold(slots, release, [], 0))
    await asyncio.sleep(0)
    with pytest.raises(ExecutorBusy):
        async with slots.slot():
            pass
    release.set()
    await holder
    assert (slots.free, slots.waiting) == (1, 0)


async def test_a_caller_that_leaves_the_queue_gives_its_place_on() -> None:
    slots, release, order = Slots(1, 4, 5.0), asyncio.Event(), list[int]()
    tasks = [asyncio.create_task(hold(slots, release, order, n)) for n in range(3)]
    await asyncio.sleep(0)
    release.set()  # task 0 ends and hands its slot to task 1, which is cancelled in the same moment
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 2]
    assert (slots.free, slots.waiting) == (1, 0)


async def test_a_cancelled_run_is_killed_and_its_slot_is_free_again() -> None:
    import os

    from tests.executor.conftest import descendants, until

    sandbox = await opened(Options(slots=1))
    try:
        task = asyncio.create_task(runner(sandbox)("import time; time.sleep(60)"))
        assert await until(lambda: descendants(os.getpid()) != [])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert descendants(os.getpid()) == []
        for delay_s in (0.0, 0.002, 0.01):  # cancelled while it is being started
            task = asyncio.create_task(runner(sandbox)("import time; time.sleep(60)"))
            await asyncio.sleep(delay_s)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (sandbox.slots.free, descendants(os.getpid())) == (1, [])
        assert (await runner(sandbox)("print(1)")).stdout == "1\n"
    finally:
        await sandbox.close()


async def test_memory_is_handed_out_like_slots_and_in_order() -> None:
    slots, order = Slots(8, 4, 5.0, memory_mb=1024), list[int]()
    releases = [asyncio.Event() for _ in range(3)]

    async def take(name: int, memory_mb: int) -> None:
        async with slots.slot(memory_mb):
            order.append(name)
            await releases[name].wait()

    tasks = [asyncio.create_task(take(0, 512)), asyncio.create_task(take(1, 1024))]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(take(2, 256)))  # would fit, but the large one came before
    await asyncio.sleep(0)
    assert (order, slots.free, slots.waiting) == ([0], 7, 2)
    assert slots.accepts(256) and slots.accepts(1024)
    releases[0].set()
    await asyncio.sleep(0.01)
    assert order == [0, 1]
    releases[1].set()
    releases[2].set()
    await asyncio.gather(*tasks)
    assert (order, slots.free, slots.waiting) == ([0, 1, 2], 8, 0)


async def test_more_memory_than_there_is_is_refused_and_not_waited_for() -> None:
    slots = Slots(1, 4, 5.0, memory_mb=512)
    with pytest.raises(SizeUnavailable, match="1024 MB") as caught:
        async with slots.slot(1024):
            pass
    assert (caught.value.status, slots.free) == (503, 1)


async def test_one_that_gives_up_waiting_does_not_hold_up_those_behind_it() -> None:
    slots, release, order = Slots(2, 4, 5.0, memory_mb=512), asyncio.Event(), list[int]()

    async def take(memory_mb: int) -> None:
        async with slots.slot(memory_mb):
            order.append(memory_mb)
            await release.wait()

    tasks = [asyncio.create_task(take(memory_mb)) for memory_mb in (256, 512, 128)]
    await asyncio.sleep(0.01)
    assert order == [256]
    tasks[1].cancel()
    await asyncio.sleep(0.01)
    assert order == [256, 128]
    release.set()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_whether_it_accepts_is_known_before_anyone_is_refused() -> None:
    slots, release = Slots(1, 1, 5.0), asyncio.Event()
    accepted = []
    tasks = []
    for name in range(3):
        accepted.append(slots.accepts())
        if name < 2:
            tasks.append(asyncio.create_task(hold(slots, release, [], name)))
            await asyncio.sleep(0)
    assert accepted == [True, True, False]
    release.set()
    await asyncio.gather(*tasks)
    assert slots.accepts() and not Slots(1, 0, 5.0, memory_mb=100).accepts(200)


async def test_the_core_is_free_once_the_code_has_ended_the_memory_when_all_is_gone() -> None:
    slots = Slots(1, 4, 5.0, memory_mb=1000)
    async with slots.slot(600) as first:
        small = asyncio.create_task(hold_memory(slots, 300))
        large = asyncio.create_task(hold_memory(slots, 600))
        await asyncio.sleep(0)
        assert (slots.free, slots.waiting) == (0, 2)
        first.code_ended()
        first.code_ended()  # said twice, meant once
        await asyncio.wait_for(small, 10)
        assert (slots.free, slots.waiting) == (1, 1)
    await asyncio.wait_for(large, 10)
    assert (slots.free, slots.waiting, slots.accepts(1000)) == (1, 0, True)


async def hold_memory(slots: Slots, memory_mb: int) -> None:
    async with slots.slot(memory_mb):
        await asyncio.sleep(0.05)
