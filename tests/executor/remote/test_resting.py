"""Who keeps failing at what it is asked for is not paid for a while, and then once."""

import pytest

from executor.providers.base import Context, Provider, Task
from executor.providers.remote import Remote
from executor.upstream.base import Answer, Order, Spending
from executor.upstream.errors import UpstreamLost, UpstreamOverBudget, UpstreamRefused, UpstreamResting
from shared.breaker import FAILURES, Breaker
from tests.executor.remote.conftest import PlainUpstream, provider, task_of
from tests.executor.remote.test_statuses import REMOTE, WORK
from tests.executor.storage.conftest import Now

SOLD = {
    "xcache": {"id": "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d"},
    "merit-systems": {"output": "1"},
}
RUBBISH = Answer(200, {}, b'{"of": "no use"}')


class Scripted(PlainUpstream):
    """Answers what it is told to, or raises it."""

    said: Answer | Exception = RUBBISH

    async def send(self, order: Order, spending: Spending) -> Answer:
        spending.before_paying()
        self.sent.append((order, spending))
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


@pytest.fixture
def upstream() -> Scripted:
    return Scripted()


class Asked:
    """A provider with a clock that tests move, and work for it."""

    def __init__(self, context: Context, whose: tuple[str, str], now: Now) -> None:
        self.provider: Provider = provider(context, *whose)
        assert isinstance(self.provider, Remote)
        self.breaker = self.provider._breaker = Breaker(now, self.provider._resting)
        self._task: Task = task_of(context, *whose, WORK[whose[0]])

    async def work(self) -> None:
        await self.provider.execute(self._task)

    async def fail(self, times: int = FAILURES) -> None:
        for _ in range(times):
            with pytest.raises((UpstreamRefused, UpstreamLost)):
                await self.work()


@pytest.fixture(params=sorted(REMOTE), ids=lambda whose: whose[1])
def asked(request: pytest.FixtureRequest, context: Context, now: Now) -> Asked:
    return Asked(context, request.param, now)


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def merit(context: Context, now: Now) -> Asked:
    return Asked(context, ("compute", "merit-systems"), now)


async def test_after_failures_in_a_row_nothing_more_is_paid_and_it_says_so(
    asked: Asked, upstream: Scripted, now: Now
) -> None:
    await asked.fail(FAILURES - 1)
    assert asked.provider.status().accepting
    await asked.fail(1)
    status = asked.provider.status()
    assert (status.status, status.accepting) == ("available", False)
    assert "kept failing" in status.reason
    assert status.retry_after_s is not None
    with pytest.raises(UpstreamResting, match="tried again in") as caught:
        await asked.work()
    assert caught.value.status == 503
    assert caught.value.headers == {"Retry-After": str(status.retry_after_s)}
    assert len(upstream.sent) == FAILURES
    now.seconds += status.retry_after_s
    assert asked.provider.status().accepting
    await asked.fail(1)
    assert not asked.provider.status().accepting


async def test_work_that_is_done_is_a_new_beginning(merit: Asked, upstream: Scripted, now: Now) -> None:
    await merit.fail(FAILURES - 1)
    upstream.said = Answer(200, {}, b'{"output": "1"}')
    await merit.work()
    upstream.said = RUBBISH
    await merit.fail()
    now.seconds += merit.breaker.rests_s
    upstream.said = Answer(200, {}, b'{"output": "1"}')
    await merit.work()
    assert merit.breaker.circuit == "closed"


async def test_an_answer_that_was_lost_speaks_against_it(merit: Asked, upstream: Scripted) -> None:
    upstream.said = UpstreamLost("nobody knows")
    await merit.fail()
    assert merit.breaker.circuit == "open"


async def test_our_own_limits_speak_for_nobody_and_against_nobody(
    merit: Asked, upstream: Scripted, now: Now
) -> None:
    upstream.said = UpstreamOverBudget("too dear")
    for _ in range(FAILURES):
        with pytest.raises(UpstreamOverBudget):
            await merit.work()
    assert merit.breaker.circuit == "closed"
    upstream.said = RUBBISH
    await merit.fail()
    now.seconds += merit.breaker.rests_s
    for trouble in (UpstreamOverBudget("too dear"), RuntimeError("ours")):
        upstream.said = trouble
        with pytest.raises(type(trouble)):
            await merit.work()
        assert merit.breaker.circuit == "half_open", "the next one may try"


async def test_while_one_tries_nobody_else_is_paid_for(merit: Asked, now: Now) -> None:
    await merit.fail()
    now.seconds += merit.breaker.rests_s
    merit.breaker.begin()
    assert not merit.provider.status().accepting
    with pytest.raises(UpstreamResting):
        await merit.work()
