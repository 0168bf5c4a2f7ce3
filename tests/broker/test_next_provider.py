"""A provider that fails is followed by the next one, on the one payment; or the price is owed back."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker.clients import Unreachable
from broker.payments import work
from broker.payments.authorization import Authorization
from broker.payments.fulfilment import PATIENCE_S, Ended, Fulfilment
from broker.payments.ledger import Ledger
from broker.payments.offers import Offer
from broker.payments.records import LedgerError, NewJob, PaymentRow, Reservation
from broker.payments.results import Results
from broker.payments.settlement import Outcome, Settled
from shared.errors import BadRequest, GalaksioError, Unavailable
from tests.broker.conftest import FakeClock

TX = "0x" + "12" * 32
PAID = 15_000
QUOTE = {
    "provider": "xcache",
    "price_atomic": 10_000,
    "settle": "before",
    "alternatives": [
        {"provider": "redis", "settle": "after"},
        {"provider": "cloudcache", "settle": "before"},
        {"provider": "disk", "settle": "after"},
    ],
}
RESULT = {
    "stdout": "1\n",
    "stderr": "",
    "exitCode": 0,
    "executionTime": 1,
    "isolation": "x",
    "language": "bash",
    "version": "5",
}
DOWN = Unavailable("provider down", code="upstream_lost")


@dataclass
class Executor:
    """Fails as told, once for each error of a provider; remembers who was asked and what it may spend."""

    fails: dict[str, list[GalaksioError]] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    jobs: set[str] = field(default_factory=set)
    discarded: list[str] = field(default_factory=list)

    async def execute(
        self, job_id: str, _: str, provider: str, *__: Any, max_spend_atomic: int = 0
    ) -> dict[str, Any]:
        self.jobs.add(job_id)
        self.asked.append((provider, max_spend_atomic))
        if waiting := self.fails.get(provider):
            raise waiting.pop(0)
        return RESULT

    async def discard(self, upload_id: str) -> None:
        self.discarded.append(upload_id)


@dataclass
class Facilitator:
    settled: int = 0

    async def verify(self, _: PaymentRow) -> str | None:
        return None

    async def settle(self, _: PaymentRow) -> Outcome:
        self.settled += 1
        return Settled(TX)


@dataclass
class World:
    ledger: Ledger
    clock: FakeClock
    executor: Executor
    facilitator: Facilitator
    fulfilment: Fulfilment

    async def claimed(self, **changed: Any) -> Reservation:
        quote = {**QUOTE, **changed}
        offer = Offer("offer", "hash", PAID, quote["provider"], quote, 270, 0, 0)
        auth = Authorization(
            "0x" + "aa" * 20, "0x" + "bb" * 20, PAID, 0, int(self.clock.now) + 250, "0x" + "cc" * 32, "0x"
        )
        new = NewJob("run", "hash", offer, auth.payer, {"code": "x", "upload": "u1"}, 1000)
        claimed = await self.ledger.reserve(auth, 1, new, {})
        assert claimed is not None
        return claimed

    async def carried(self, **changed: Any) -> Ended:
        return await self.fulfilment.begin(await self.claimed(**changed))

    async def refund(self, ended: Ended) -> dict[str, Any] | None:
        return await self.ledger.refund_of(ended.payment.id)


@pytest.fixture
def world(ledger: Ledger, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(work, "RETRY_PAUSES_S", (0.0, 0.0))
    executor: Any = Executor()
    facilitator: Any = Facilitator()
    fulfilment = Fulfilment(
        ledger=ledger,
        settlement=facilitator,
        executor=executor,
        results=Results(tmp_path / "results"),
        chain=None,
        clock=clock,
    )
    return World(ledger, clock, executor, facilitator, fulfilment)


async def test_the_provider_that_was_chosen_may_spend_what_it_said_and_nothing_more(world: World) -> None:
    ended = await world.carried()
    assert (ended.payment.state, world.executor.asked) == ("settled", [("xcache", 10_000)])
    assert world.executor.discarded == ["u1"], "what was sent on is not kept here"


async def test_the_next_one_does_the_work_of_one_that_fails_without_a_second_charge(world: World) -> None:
    world.executor.fails = {"xcache": [DOWN]}
    ended = await world.carried()
    job = await world.ledger.job(ended.payment.job_id)
    assert job is not None
    assert (ended.payment.state, ended.error, job.provider) == ("settled", None, "redis")
    assert world.executor.asked == [("xcache", 10_000), ("redis", PAID)]
    assert (world.facilitator.settled, world.executor.jobs) == (1, {job.id})
    assert await world.refund(ended) is None
    assert job.response is not None
    assert '"redis"' in job.response


async def test_all_are_tried_in_their_order_before_the_price_is_owed_back(world: World) -> None:
    world.executor.fails = {name: [DOWN] for name in ("xcache", "redis", "cloudcache", "disk")}
    ended = await world.carried()
    refund = await world.refund(ended)
    assert [name for name, _ in world.executor.asked] == ["xcache", "redis", "cloudcache", "disk"]
    assert refund is not None
    assert (refund["state"], refund["amount_atomic"]) == ("owed", PAID)
    assert (ended.error, world.facilitator.settled) == (DOWN, 1)
    assert world.executor.discarded == ["u1"]


async def test_what_is_wrong_with_the_request_is_not_tried_elsewhere(world: World) -> None:
    world.executor.fails = {"xcache": [BadRequest("the content is too large", status=413)]}
    ended = await world.carried()
    assert [name for name, _ in world.executor.asked] == ["xcache"]
    assert await world.refund(ended) is not None


async def test_nobody_stands_in_for_a_provider_that_was_named(world: World) -> None:
    world.executor.fails = {"xcache": [DOWN]}
    ended = await world.carried(alternatives=[])
    assert [name for name, _ in world.executor.asked] == ["xcache"]
    assert await world.refund(ended) is not None


async def test_work_that_is_not_paid_for_yet_is_never_given_to_who_is_paid_for_it(world: World) -> None:
    world.executor.fails = {"local": [DOWN]}
    ended = await world.carried(
        provider="local", settle="after", alternatives=[{"provider": "merit-systems", "settle": "before"}]
    )
    assert (ended.payment.state, world.executor.asked) == ("voided", [("local", 0)])
    assert world.facilitator.settled == 0


async def test_work_that_is_not_paid_for_yet_may_be_done_by_another_of_ours_for_nothing(world: World) -> None:
    world.executor.fails = {"local": [DOWN]}
    ended = await world.carried(
        provider="local", settle="after", alternatives=[{"provider": "disk", "settle": "after"}]
    )
    assert (ended.payment.state, world.executor.asked) == ("settled", [("local", 0), ("disk", 0)])


async def test_an_authorization_about_to_expire_does_not_wait_for_another(world: World) -> None:
    world.executor.fails = {"local": [DOWN]}
    reservation = await world.claimed(
        provider="local", settle="after", alternatives=[{"provider": "disk", "settle": "after"}]
    )
    world.clock.now += 245
    ended = await world.fulfilment.begin(reservation)
    assert (ended.payment.state, world.executor.asked) == ("voided", [("local", 0)])


async def test_an_executor_that_starts_again_is_waited_for_and_the_provider_stays(world: World) -> None:
    world.executor.fails = {"xcache": [Unreachable(), Unreachable("executor_lost")]}
    ended = await world.carried()
    assert (ended.payment.state, ended.error) == ("settled", None)
    assert world.executor.asked == [("xcache", 10_000)] * 3


async def test_an_executor_that_is_away_leaves_the_payment_to_be_taken_up_again(world: World) -> None:
    world.executor.fails = {"xcache": [Unreachable() for _ in range(3)]}
    left = await world.carried()
    assert (left.payment.state, left.error) == ("running", None)
    assert await world.refund(left) is None
    world.clock.now += 60
    (taken,) = await world.ledger.take_over(10)
    ended = await world.fulfilment.resume(taken)
    assert (ended.payment.state, ended.error, world.facilitator.settled) == ("settled", None, 1)


async def test_an_executor_that_stays_away_is_a_refund_owed_in_the_end(world: World) -> None:
    world.executor.fails = {"xcache": [Unreachable() for _ in range(6)]}
    await world.carried()
    world.clock.now += PATIENCE_S + 1
    (taken,) = await world.ledger.take_over(10)
    ended = await world.fulfilment.resume(taken)
    assert ended.error is not None
    assert await world.refund(ended) is not None


async def test_an_executor_that_is_away_charges_nothing_where_nothing_was_charged(world: World) -> None:
    world.executor.fails = {"local": [Unreachable()]}
    ended = await world.carried(provider="local", settle="after", alternatives=QUOTE["alternatives"])
    assert (ended.payment.state, world.executor.asked) == ("voided", [("local", 0)])


async def test_a_broker_that_lost_its_lease_gives_the_work_to_nobody(world: World) -> None:
    reservation = await world.claimed()
    payment = await world.ledger.settling(reservation.payment)
    payment = await world.ledger.settled(payment, TX)
    world.clock.now += 60
    other = Ledger(world.ledger._database, world.ledger._network, world.clock)
    assert len(await other.take_over(10)) == 1
    with pytest.raises(LedgerError):
        await world.ledger.give_to(payment, reservation.job, "redis")
    job = await world.ledger.job(reservation.job.id)
    assert job is not None
    assert job.provider == "xcache"


async def test_a_broker_that_died_after_the_change_goes_on_with_the_next_one(world: World) -> None:
    reservation = await world.claimed()
    payment = await world.ledger.settling(reservation.payment)
    payment = await world.ledger.settled(payment, TX)
    await world.ledger.give_to(payment, reservation.job, "cloudcache")
    world.executor.fails = {"cloudcache": [DOWN]}
    ended = await world.fulfilment.resume(payment)
    assert ended.payment.state == "settled"
    assert world.executor.asked == [("cloudcache", PAID), ("disk", PAID)]
