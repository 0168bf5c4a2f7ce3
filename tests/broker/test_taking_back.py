"""Work that was begun and not paid for: it is remembered until it is taken back, across everything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from broker.payments import reconciler as reconciling
from broker.payments.fulfilment import UNDO_AGAIN_MS, UNDO_AT_ONCE, Fulfilment
from broker.payments.ledger import Ledger
from broker.payments.reconciler import Reconciler
from broker.payments.records import JobRow, NewJob, PaymentRow
from broker.payments.results import Results
from broker.payments.settlement import Outcome, Refused, Settled, Unknown
from shared.database import Database
from shared.errors import GalaksioError, Unavailable
from tests.broker.conftest import FakeClock
from tests.broker.test_ledger import AUTH, JOB, KEPT, TX

STORE = replace(JOB, operation="store", task={"upload": "u"})
RESULT = {
    "cid": "bafkrei",
    "url": "/files/bafkrei",
    "provider": "local",
    "size": 1,
    "permanent": False,
    "expiresAt": None,
    "sha256": "00",
    "contentType": "text/plain",
    "filename": None,
}


async def reserved(ledger: Ledger, number: int = 0, new: NewJob = STORE) -> PaymentRow:
    claimed = await ledger.reserve(replace(AUTH, nonce=f"0x{number:064x}"), 1, new, {})
    assert claimed is not None
    return claimed.payment


async def job_of(ledger: Ledger, payment: PaymentRow) -> JobRow:
    job = await ledger.job(payment.job_id)
    assert job is not None
    return job


async def due(ledger: Ledger) -> list[str]:
    return [job.id for job in await ledger.to_undo(100)]


# -- the ledger ----------------------------------------------------------------------------------------


async def test_a_voided_job_is_taken_back_only_where_it_was_begun(ledger: Ledger) -> None:
    begun, never = await reserved(ledger, 1), await reserved(ledger, 2)
    await ledger.void(await ledger.start(begun), "executor_lost", undo=True)
    await ledger.void(never, "refused")
    assert await due(ledger) == [begun.job_id]
    job = await job_of(ledger, begun)
    assert (job.status, job.error, job.task, job.provider) == ("failed", "executor_lost", None, "local")


async def test_a_rejected_settlement_takes_the_result_with_it_and_keeps_it_otherwise(ledger: Ledger) -> None:
    for number, undo in enumerate((False, True)):
        row = await ledger.keep_result(await ledger.start(await reserved(ledger, number)), KEPT)
        await ledger.rejected(row, "insufficient_funds", undo=undo)
        job = await job_of(ledger, row)
        assert (job.status, job.has_result) == ("unpaid", not undo)
        assert await due(ledger) == ([row.job_id] if undo else [])


async def test_what_is_to_be_taken_back_is_no_result_for_another_payment(ledger: Ledger) -> None:
    """A new authorization for the same request must not be handed content that is about to go."""
    first = await ledger.keep_result(await ledger.start(await reserved(ledger, 1)), KEPT)
    await ledger.rejected(first, "insufficient_funds", undo=True)
    second = await reserved(ledger, 2)
    assert second.job_id != first.job_id
    third = await ledger.start(await reserved(ledger, 3))
    await ledger.void(third, "executor_lost", undo=True)
    again = await reserved(ledger, 3)
    assert again.job_id != third.job_id
    assert sorted(await due(ledger)) == sorted([first.job_id, third.job_id])


async def test_what_was_taken_back_is_not_due_and_what_was_not_is_due_again(
    ledger: Ledger, clock: FakeClock
) -> None:
    rows = [await reserved(ledger, number) for number in range(2)]
    for row in rows:
        await ledger.void(await ledger.start(row), "executor_lost", undo=True)
        clock.now += 1
    assert await due(ledger) == [row.job_id for row in rows], "the first one first"
    assert [job.id for job in await ledger.to_undo(1)] == [rows[0].job_id]
    await ledger.undone(rows[0].job_id)
    await ledger.undone(rows[1].job_id, again_in_ms=5_000)
    assert await due(ledger) == []
    clock.now += 4.9
    assert await due(ledger) == []
    clock.now += 0.2
    assert await due(ledger) == [rows[1].job_id]


async def test_a_settled_job_is_never_to_be_taken_back(ledger: Ledger) -> None:
    row = await ledger.keep_result(await ledger.start(await reserved(ledger)), KEPT)
    await ledger.settled(row, TX)
    assert await due(ledger) == []


async def test_what_is_to_be_taken_back_survives_the_broker(database: Database, ledger: Ledger) -> None:
    row = await ledger.start(await reserved(ledger))
    await ledger.void(row, "executor_lost", undo=True)
    other = Database(database.url)
    try:
        assert await due(Ledger(other, ledger._network, ledger._clock)) == [row.job_id]
    finally:
        await other.close()


# -- taking it back ------------------------------------------------------------------------------------


@dataclass
class World:
    """An executor that may be down, and a facilitator that says what a test wants."""

    outcome: Outcome = field(default_factory=lambda: Refused("insufficient_funds"))
    down: bool = False
    fails: GalaksioError | None = None
    refusal: str | None = None
    undone: list[tuple[str, str, str]] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)

    async def verify(self, _: PaymentRow) -> str | None:
        return self.refusal

    async def discard(self, upload_id: str) -> None:
        self.discarded.append(upload_id)

    async def settle(self, _: PaymentRow) -> Outcome:
        return self.outcome

    async def execute(self, *_: Any, **__: Any) -> Any:
        if self.fails is not None:
            raise self.fails
        return RESULT

    async def undo(self, job_id: str, task_type: str, provider: str) -> None:
        if self.down:
            raise Unavailable("the executor does not answer")
        self.undone.append((job_id, task_type, provider))


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
        chain=None,
        clock=clock,
    )


async def begun(ledger: Ledger, fulfilment: Fulfilment, clock: FakeClock, new: NewJob = STORE) -> PaymentRow:
    auth = replace(AUTH, valid_before=int(clock.now) + 250)
    claimed = await ledger.reserve(auth, 1, new, {})
    assert claimed is not None
    return (await fulfilment.begin(claimed)).payment


async def test_a_refused_settlement_is_taken_back_once(
    world: World, ledger: Ledger, fulfilment: Fulfilment, clock: FakeClock
) -> None:
    payment = await begun(ledger, fulfilment, clock)
    assert payment.state == "rejected"
    assert await fulfilment.take_back() == 1
    assert await fulfilment.take_back() == 0
    assert world.undone == [(payment.job_id, "store", "local")]


async def test_work_that_failed_may_have_left_something_and_is_taken_back(
    world: World, ledger: Ledger, fulfilment: Fulfilment, clock: FakeClock
) -> None:
    world.fails = Unavailable("lost", code="executor_lost")
    payment = await begun(ledger, fulfilment, clock)
    assert payment.state == "voided"
    assert await fulfilment.take_back() == 1
    assert [job_id for job_id, *_ in world.undone] == [payment.job_id]


@pytest.mark.parametrize(
    "outcome", [Settled(TX), Unknown("no answer")], ids=lambda outcome: type(outcome).__name__
)
async def test_nothing_is_taken_back_that_is_paid_or_may_be(
    world: World, ledger: Ledger, fulfilment: Fulfilment, clock: FakeClock, outcome: Outcome
) -> None:
    world.outcome = outcome
    await begun(ledger, fulfilment, clock)
    assert await fulfilment.take_back() == 0
    assert world.undone == []


async def test_an_upload_is_forgotten_when_its_payment_is_refused_before_the_work(
    world: World, ledger: Ledger, fulfilment: Fulfilment, clock: FakeClock
) -> None:
    world.refusal = "insufficient_funds"
    assert (await begun(ledger, fulfilment, clock)).state == "voided"
    assert (world.discarded, await due(ledger)) == (["u"], [])


async def test_an_upload_is_forgotten_when_the_work_fails_or_the_broker_stopped(
    world: World, ledger: Ledger, fulfilment: Fulfilment, clock: FakeClock
) -> None:
    world.fails = Unavailable("full", code="storage_full")
    await begun(ledger, fulfilment, clock)
    assert world.discarded == ["u"]
    left_behind = await reserved(ledger)
    assert (await fulfilment.resume(left_behind)).payment.state == "voided"
    assert world.discarded == ["u", "u"]


async def test_an_upload_is_not_forgotten_when_it_was_stored(
    world: World, ledger: Ledger, fulfilment: Fulfilment, clock: FakeClock
) -> None:
    await begun(ledger, fulfilment, clock)
    assert world.discarded == [], "it is a job's by now, which is taken back as a whole"


async def test_a_run_leaves_nothing_and_its_result_waits_for_a_payment(
    world: World, ledger: Ledger, fulfilment: Fulfilment, clock: FakeClock
) -> None:
    world.fails = Unavailable("lost", code="executor_lost")
    await begun(ledger, fulfilment, clock, JOB)
    assert await fulfilment.take_back() == 0


async def test_an_executor_that_is_down_is_asked_again_later(
    world: World, ledger: Ledger, fulfilment: Fulfilment, clock: FakeClock
) -> None:
    payment, world.down = await begun(ledger, fulfilment, clock), True
    assert await fulfilment.take_back() == 0
    world.down = False
    assert await fulfilment.take_back() == 0, "not at once"
    clock.now += UNDO_AGAIN_MS / 1000 + 0.1
    assert await fulfilment.take_back() == 1
    assert [job_id for job_id, *_ in world.undone] == [payment.job_id]


async def test_no_more_is_taken_back_at_once_than_the_executor_is_asked_for(
    world: World, ledger: Ledger, fulfilment: Fulfilment
) -> None:
    for number in range(UNDO_AT_ONCE + 3):
        await ledger.void(await ledger.start(await reserved(ledger, number)), "lost", undo=True)
    assert [await fulfilment.take_back() for _ in range(3)] == [UNDO_AT_ONCE, 3, 0]
    assert len({job_id for job_id, *_ in world.undone}) == UNDO_AT_ONCE + 3


@pytest.fixture
async def reconciler(
    ledger: Ledger, fulfilment: Fulfilment, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Reconciler]:
    monkeypatch.setattr(reconciling, "LOOK_EVERY_S", 0.01)
    made = Reconciler(ledger, fulfilment)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_the_reconciler_takes_back_what_a_dead_broker_left(
    world: World, ledger: Ledger, database: Database, reconciler: Reconciler
) -> None:
    dead = Ledger(database, ledger._network, ledger._clock)
    row = await dead.start(await reserved(dead))
    await dead.void(row, "executor_lost", undo=True)
    async with asyncio.timeout(20):
        while not world.undone:
            await asyncio.sleep(0.01)
    assert [job_id for job_id, *_ in world.undone] == [row.job_id]
    async with asyncio.timeout(20):
        while await due(ledger):
            await asyncio.sleep(0.01)


async def test_an_error_while_taking_back_does_not_end_the_reconciler(
    world: World, ledger: Ledger, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failed = ledger.to_undo, asyncio.Event()

    async def fails_once(limit: int) -> list[JobRow]:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("the database stumbled")
        return await real(limit)

    monkeypatch.setattr(ledger, "to_undo", fails_once)
    await ledger.void(await ledger.start(await reserved(ledger)), "executor_lost", undo=True)
    async with asyncio.timeout(20):
        await failed.wait()
        while not world.undone:
            await asyncio.sleep(0.01)
