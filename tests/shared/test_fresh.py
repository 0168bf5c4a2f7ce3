"""One question for many askers, and never an answer older than it may be."""

import asyncio

import pytest

from shared.fresh import Fresh


class Source:
    """Answers how often it was asked, once `open` is set; or raises `error`."""

    def __init__(self) -> None:
        self.asked = 0
        self.now = 0.0
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None
        self.fresh = Fresh(self.ask, lambda: self.now, fresh_s=1.0)

    async def ask(self) -> int:
        self.asked += 1
        number = self.asked
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return number


async def test_many_askers_share_one_question() -> None:
    source = Source()
    source.open.clear()
    waiting = [asyncio.create_task(source.fresh.get()) for _ in range(50)]
    await asyncio.sleep(0)
    source.open.set()
    assert await asyncio.gather(*waiting) == [1] * 50


@pytest.mark.parametrize(("moved", "value"), [(0.99, 1), (1.0, 2), (-0.01, 2)])
async def test_an_answer_is_kept_for_its_time_and_not_past_a_clock_set_back(moved: float, value: int) -> None:
    source = Source()
    await source.fresh.get()
    source.now += moved
    assert await source.fresh.get() == value


async def test_when_the_one_who_asks_is_cancelled_the_next_in_line_asks() -> None:
    source = Source()
    source.open.clear()
    first, second = (asyncio.create_task(source.fresh.get()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    source.open.set()
    assert await second == 2
    assert first.cancelled()


async def test_an_error_is_raised_and_not_kept() -> None:
    source = Source()
    source.error = RuntimeError("no")
    with pytest.raises(RuntimeError):
        await source.fresh.get()
    source.error = None
    assert await source.fresh.get() == 2
