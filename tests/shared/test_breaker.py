"""A provider that keeps failing is left alone for a pause that grows, then tried once."""

import pytest

from shared.breaker import FAILURES, JITTER, MAX_PAUSE_S, PAUSE_S, Breaker


class Resting(Exception):
    """The seconds to wait."""

    @property
    def retry_after_s(self) -> int:
        return int(self.args[0])


class Time:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def opened(time: Time) -> Breaker:
    breaker = Breaker(time, Resting)
    for _ in range(FAILURES):
        breaker.begin()
        breaker.failed()
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(Time(), Resting)
    for _ in range(FAILURES - 1):
        breaker.failed()
    breaker.succeeded()
    for _ in range(FAILURES - 1):
        breaker.failed()
    assert breaker.circuit == "closed"
    breaker.begin()
    breaker.failed()
    assert breaker.circuit == "open"


def test_while_it_is_open_nobody_may_ask_and_is_told_when() -> None:
    time = Time()
    breaker = opened(time)
    with pytest.raises(Resting) as caught:
        breaker.begin()
    least, most = PAUSE_S * (1 - JITTER), PAUSE_S * (1 + JITTER)
    assert least <= caught.value.retry_after_s <= most + 1
    time.now += 10
    assert breaker.rests_s == pytest.approx(caught.value.retry_after_s - 10, abs=1)


def test_after_the_pause_one_may_try_and_its_answer_decides() -> None:
    time = Time()
    breaker = opened(time)
    time.now += breaker.rests_s
    assert breaker.circuit == "half_open"
    breaker.begin()
    with pytest.raises(Resting):
        breaker.begin()
    breaker.succeeded()
    assert breaker.circuit == "closed"
    breaker.begin()
    breaker.begin()


def test_each_failed_try_doubles_the_pause_up_to_a_limit() -> None:
    time = Time()
    breaker = opened(time)
    pauses = [breaker.rests_s]
    for _ in range(12):
        time.now += breaker.rests_s
        breaker.begin()
        breaker.failed()
        pauses.append(breaker.rests_s)
    assert pauses[1] > pauses[0] * 1.2
    assert max(pauses) <= MAX_PAUSE_S * (1 + JITTER) + 1
    time.now += breaker.rests_s
    breaker.begin()
    breaker.succeeded()
    for _ in range(FAILURES):
        breaker.failed()
    assert breaker.rests_s <= PAUSE_S * (1 + JITTER) + 1


def test_a_question_that_was_open_when_it_opened_does_not_make_the_pause_longer() -> None:
    breaker = opened(Time())
    before = breaker.rests_s
    breaker.failed()
    assert breaker.rests_s == before


def test_a_clock_that_was_set_back_ends_the_pause() -> None:
    time = Time()
    breaker = opened(time)
    time.now -= 3600
    assert breaker.circuit == "half_open"


def test_a_try_that_came_to_nothing_leaves_it_half_open() -> None:
    time = Time()
    breaker = opened(time)
    time.now += breaker.rests_s
    breaker.begin()
    assert breaker.circuit == "open"
    breaker.undecided()
    assert breaker.circuit == "half_open"
