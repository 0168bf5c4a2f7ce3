"""Carrying a payment from any state to its end, also one that another broker left behind."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from broker.payments.authorization import Authorization
from broker.payments.chain import OnChain
from broker.payments.fulfilment import EXPIRY_MARGIN_S, Fulfilment
from broker.payments.ledger import Ledger
from broker.payments.offers import Offer
from broker.payments.reconciler import Reconciler
from broker.payments.records import NewJob, PaymentRow, Reservation
from broker.payments.results import Results
from broker.payments.settlement import Outcome, Refused, Settled, Unknown
from shared.errors import Unavailable
from tests.broker.conftest import FakeClock

TX = "0x" + "12" * 32
OFFER = Offer("offer", "hash", 5800, "local", {"provider": "local"}, 270, 0, 0)
RESULT = {
    "stdout": "1\n",
    "stderr": "",
    "exitCode": 0,
    "executionTime": 1,
    "isolation": "x",
    "language": "bash",
}


@dataclass
class World:
    """The facilitator, the executor and the chain as a test wants them; counts what they are asked."""

    refusal: str | None = None
    outcomes: list[Outcome] = field(default_factory=lambda: [Settled(TX)])
    work: Callable[[], Any] = lambda: {**RESULT, "version": "5"}
    seen: OnChain | None = None
    ran: list[str] = field(default_factory=list)
    settled: int = 0

    async def verify(self, payment: PaymentRow) -> str | None:
        return self.refusal

    async def settle(self, payment: PaymentRow) -> Outcome:
        self.settled += 1
        return self.outcomes.pop(0)

    async def execute(self, job_id: str, *_: Any, **__: Any) -> Any:
        self.ran.append(job_id)
        return self.work()

    async def authorization(self, payer: str, nonce: str, age_s: float) -> OnChain | None:
        return self.seen


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def fulfilment(world: World, ledger: Ledger, tmp_path: Path, clock: FakeClock) -> Fulfilment:
    stand_in: Any = world
    return Fulfilment(
        ledger=ledger,
        settlement=stand_in,
        executor=stand_in,
        results=Results(tmp_path / "results"),
        chain=stand_in,
        clock=clock,
    )


async def claimed(ledger: Ledger, clock: FakeClock, settle: str = "after") -> Reservation:
    auth = Authorization(
        "0x" + "aa" * 20, "0x" + "bb" * 20, 5800, 0, int(clock.now) + 250, "0x" + "cc" * 32, "0x"
    )
    offer = replace(OFFER, quote={"settle": settle})
    new = NewJob("run", "hash", offer, auth.payer, {"code": "x"}, 1000)
    reservation = await ledger.reserve(auth, 1, new, {})
    assert reservation is not None
    return reservation


async def reserved(ledger: Ledger, clock: FakeClock, settle: str = "after") -> PaymentRow:
    return (await claimed(ledger, clock, settle)).payment


def failing() -> Any:
    raise Unavailable("provider down", code="provider_down")


async def test_settled_after_the_work(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    ended = await fulfilment.begin(await claimed(ledger, clock))
    job = await ledger.job(ended.payment.job_id)
    assert job is not None
    assert (ended.payment.state, ended.payment.transaction_hash, job.status) == ("settled", TX, "completed")
    assert (world.ran, world.settled, job.task) == ([job.id], 1, None)


async def test_a_broker_that_froze_does_not_take_over_from_itself(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its leases have run out when it wakes; if nobody else was faster, it goes on where it was."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: PaymentRow) -> None:
        asked.set()
        await go_on.wait()

    monkeypatch.setattr(world, "verify", slow)
    begun = asyncio.create_task(fulfilment.begin(await claimed(ledger, clock)))
    await asked.wait()
    clock.now += ledger.lease_ms / 1000 + 1
    reconciler = Reconciler(ledger, fulfilment)
    assert await reconciler.look() == 0
    assert await fulfilment.renew_leases() == 1
    go_on.set()
    ended = await begun
    assert (ended.payment.state, len(world.ran), world.settled) == ("settled", 1, 1)


async def test_settled_before_the_work_where_upstream_money_moves(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    world.work = lambda: {**RESULT, "version": "5"} if world.settled == 1 else failing()
    ended = await fulfilment.begin(await claimed(ledger, clock, "before"))
    job = await ledger.job(ended.payment.job_id)
    assert job is not None
    assert (ended.payment.state, job.status, job.has_result) == ("settled", "completed", True)
    assert await ledger.refund_of(ended.payment.id) is None


async def test_paid_ahead_and_failed_is_a_refund_owed(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    world.work = failing
    ended = await fulfilment.begin(await claimed(ledger, clock, "before"))
    refund = await ledger.refund_of(ended.payment.id)
    assert ended.error is not None
    assert refund is not None
    assert (refund["state"], refund["amount_atomic"], refund["reason"]) == ("owed", 5800, "provider_down")


async def test_paid_ahead_refused_runs_nothing(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    world.outcomes = [Refused("insufficient_funds")]
    ended = await fulfilment.begin(await claimed(ledger, clock, "before"))
    assert (ended.payment.state, ended.refusal, world.ran) == ("rejected", "insufficient_funds", [])


async def test_a_failure_of_ours_after_the_default_policy_charges_nothing(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    world.work = failing
    ended = await fulfilment.begin(await claimed(ledger, clock))
    assert (ended.payment.state, world.settled) == ("voided", 0)


async def test_a_refused_verification_runs_nothing(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    world.refusal = "insufficient_funds"
    ended = await fulfilment.begin(await claimed(ledger, clock))
    assert (ended.payment.state, ended.refusal, world.ran) == ("voided", "insufficient_funds", [])


async def test_left_behind_reserved_is_voided(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    ended = await fulfilment.resume(await reserved(ledger, clock))
    assert (ended.payment.state, world.ran, world.settled) == ("voided", [], 0)


async def test_left_behind_running_is_asked_for_under_the_same_job_id_and_settled(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    row = await ledger.start(await reserved(ledger, clock))
    ended = await fulfilment.resume(row)
    assert (ended.payment.state, world.ran) == ("settled", [row.job_id])


async def test_left_behind_running_too_long_is_voided_and_not_run(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    row = await ledger.start(await reserved(ledger, clock))
    clock.now += 250
    ended = await fulfilment.resume(row)
    assert (ended.payment.state, ended.payment.reason, world.ran) == ("voided", "authorization_expired", [])


async def unknown(fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock) -> PaymentRow:
    world.outcomes = [Unknown("no answer")]
    ended = await fulfilment.begin(await claimed(ledger, clock))
    assert ended.payment.state == "unknown"
    world.outcomes = [Settled(TX)]
    return ended.payment


async def test_unknown_and_used_on_the_chain_is_settled_without_asking_the_facilitator(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    row = await unknown(fulfilment, world, ledger, clock)
    world.seen = OnChain("used", TX)
    ended = await fulfilment.resume(row)
    assert (ended.payment.state, ended.payment.transaction_hash) == ("settled", TX)
    assert (world.settled, len(world.ran)) == (1, 1)


async def test_unknown_and_unused_is_settled_again_while_the_window_is_open(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    row = await unknown(fulfilment, world, ledger, clock)
    world.seen = OnChain("unused")
    ended = await fulfilment.resume(row)
    assert (ended.payment.state, world.settled, len(world.ran)) == ("settled", 2, 1)


async def test_unknown_and_cancelled_by_the_payer_is_rejected(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    row = await unknown(fulfilment, world, ledger, clock)
    world.seen = OnChain("cancelled")
    ended = await fulfilment.resume(row)
    assert (ended.payment.state, ended.payment.reason) == ("rejected", "authorization_cancelled")


async def test_unknown_and_unused_after_its_window_is_rejected_but_not_a_moment_too_early(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    row = await unknown(fulfilment, world, ledger, clock)
    world.seen = OnChain("unused")
    clock.now = row.valid_before + EXPIRY_MARGIN_S
    world.outcomes = [Unknown("still no answer")]
    row = (await fulfilment.resume(row)).payment
    assert row.state == "unknown"
    clock.now += 1
    ended = await fulfilment.resume(row)
    assert (ended.payment.state, ended.payment.reason) == ("rejected", "authorization_expired")


async def test_a_refusal_after_an_earlier_try_is_not_believed(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    """The earlier try may have emptied the wallet: "no funds" then proves nothing."""
    row = await unknown(fulfilment, world, ledger, clock)
    world.outcomes = [Refused("insufficient_funds")]
    ended = await fulfilment.resume(row)
    assert (ended.payment.state, ended.payment.attempts) == ("unknown", 2)


async def test_used_in_a_transaction_that_is_not_found_stays_unknown(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    row = await unknown(fulfilment, world, ledger, clock)
    world.seen = OnChain("used")
    ended = await fulfilment.resume(row)
    assert (ended.payment.state, world.settled) == ("unknown", 1)


async def test_expired_while_the_chain_is_silent_stays_unknown(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    row = await unknown(fulfilment, world, ledger, clock)
    clock.now = row.valid_before + EXPIRY_MARGIN_S + 1
    ended = await fulfilment.resume(row)
    assert (ended.payment.state, world.settled) == ("unknown", 1)


async def test_left_behind_settling_paid_ahead_is_run_once_it_is_known_to_be_paid(
    fulfilment: Fulfilment, world: World, ledger: Ledger, clock: FakeClock
) -> None:
    row = await ledger.settling(await reserved(ledger, clock, "before"))
    world.seen = OnChain("used", TX)
    ended = await fulfilment.resume(row)
    assert (ended.payment.state, world.settled, len(world.ran)) == ("settled", 0, 1)
