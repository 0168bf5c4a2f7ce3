"""The counts behind the rate limits: the same answers as the `limits` package gives, and a bound on keys."""

from types import SimpleNamespace

import pytest
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from broker import windows
from broker.windows import SlidingWindows
from tests.broker.conftest import FakeClock


def test_hits_weigh_less_as_their_window_goes_out_of_reach() -> None:
    clock = FakeClock(600.0)
    counted = SlidingWindows(10, 60, clock)
    assert [counted.hit("a") for _ in range(11)] == [True] * 10 + [False]
    clock.now = 660.0
    assert not counted.hit("a"), "the full window is just behind"
    clock.now = 690.0
    assert [counted.hit("a") for _ in range(6)] == [True] * 5 + [False], "half of it is still within reach"
    clock.now = 780.0
    assert [counted.hit("a") for _ in range(11)] == [True] * 10 + [False], "all of it is gone"


def test_the_answers_are_those_of_the_limits_package(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock(60_000.0)
    monkeypatch.setattr("limits.storage.memory.time", SimpleNamespace(time=clock))
    limit = parse("10/minute")
    theirs, ours = SlidingWindowCounterRateLimiter(MemoryStorage()), SlidingWindows(10, 60, clock)
    answers = []
    for step in range(400):
        clock.now += step * 37 % 11 + 0.013  # whole seconds are where their rounding differs
        answers.append(ours.hit("a"))
        assert answers[-1] == theirs.hit(limit, "a"), step
    assert 50 < sum(answers) < 350


def test_each_key_is_counted_for_itself_and_no_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MAX_KEYS", 2)
    counted = SlidingWindows(1, 60, FakeClock(0.0))
    assert [counted.hit(key) for key in ("a", "b", "c")] == [True] * 3
    assert [counted.hit(key) for key in ("a", "b", "c")] == [False, False, True], "c came on top: not counted"
