"""Results go when their time is over, and nothing else: not what is being paid for, not the books."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text, update
from sqlalchemy.dialects import sqlite

from broker.payments import retention as retention_module
from broker.payments.ledger import Ledger
from broker.payments.records import JobRow, PaymentRow
from broker.payments.results import INLINE_BYTES, Results
from broker.payments.retention import EXPIRED, Retention
from broker.tables import HELD, TO_ERASE, jobs
from shared.database import Database
from tests.broker.conftest import FakeClock
from tests.broker.shop import open_shop
from tests.broker.test_ledger import AUTH, JOB, TX, reserved
from tests.executor.conftest import until

DAY_S, KEEP_DAYS = 86_400, 30
ANSWER = {"jobId": "j", "result": {"stdout": "x"}}
LARGE = {"jobId": "j", "result": {"stdout": "x" * INLINE_BYTES}}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


@pytest.fixture
def retention(database: Database, results: Results, clock: FakeClock) -> Retention:
    return Retention(database, results, clock, KEEP_DAYS)


class Sales:
    """Payments as far as a test wants them."""

    def __init__(self, ledger: Ledger, results: Results) -> None:
        self._ledger = ledger
        self._results = results
        self._nonce = 0

    async def begun(self, answer: dict[str, Any] = ANSWER) -> PaymentRow:
        """Done, kept, and about to be settled."""
        self._nonce += 1
        row = await reserved(self._ledger, replace(AUTH, nonce=f"0x{self._nonce:064x}"))
        await self._ledger.start(row)
        row = await self._ledger.keep_result(row, await self._results.keep(row.job_id, answer))
        return await self._ledger.settling(row)

    async def settled(self, answer: dict[str, Any] = ANSWER) -> PaymentRow:
        return await self._ledger.settled(await self.begun(answer), TX)

    async def rejected(self) -> PaymentRow:
        return await self._ledger.rejected(await self.begun(), "insufficient_funds")

    async def job(self, row: PaymentRow) -> JobRow:
        job = await self._ledger.job(row.job_id)
        assert job is not None
        return job

    async def shown(self, row: PaymentRow) -> Any:
        """The result, or None."""
        kept = await self._results.read(await self.job(row))
        return None if kept is None else json.loads(kept)


@pytest.fixture
def sales(ledger: Ledger, results: Results) -> Sales:
    return Sales(ledger, results)


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "results").iterdir())


async def test_a_result_is_there_until_its_time_is_over_and_its_payment_for_good(
    sales: Sales, retention: Retention, ledger: Ledger, clock: FakeClock, tmp_path: Path
) -> None:
    small, large = await sales.settled(), await sales.settled(LARGE)
    hashes = [(await sales.job(row)).response_hash for row in (small, large)]
    clock.now += KEEP_DAYS * DAY_S
    await retention.sweep()
    assert (await sales.shown(small), await sales.shown(large)) == (ANSWER, LARGE)
    assert files(tmp_path) == [f"{large.job_id}.json"]
    clock.now += 1
    await retention.sweep()
    assert (await sales.shown(small), await sales.shown(large)) == (None, None)
    assert files(tmp_path) == []
    for row, digest in zip((small, large), hashes, strict=True):
        job = await sales.job(row)
        assert (job.status, job.error, job.response, job.response_hash) == ("completed", None, None, digest)
        assert job.expired_at_ms == int(clock.now * 1000)
        assert await ledger.payment(row.id) == row


async def test_nothing_goes_where_results_are_kept_for_good(
    sales: Sales, database: Database, results: Results, clock: FakeClock
) -> None:
    row = await sales.settled()
    clock.now += 30_000 * DAY_S
    await Retention(database, results, clock, 0).sweep()
    assert await sales.shown(row) == ANSWER


async def test_what_may_yet_be_paid_stays(
    sales: Sales, retention: Retention, ledger: Ledger, clock: FakeClock
) -> None:
    settling, unknown = await sales.begun(), await sales.begun()
    await ledger.unknown(unknown, "no answer", 1000)
    clock.now += 2 * KEEP_DAYS * DAY_S
    await retention.sweep()
    assert [await sales.shown(row) for row in (settling, unknown)] == [ANSWER, ANSWER]


async def test_a_result_that_nobody_paid_for_goes_and_cannot_be_paid_for_any_more(
    sales: Sales, retention: Retention, clock: FakeClock
) -> None:
    row = await sales.rejected()
    clock.now += KEEP_DAYS * DAY_S + 1
    await retention.sweep()
    job = await sales.job(row)
    assert (job.status, job.error, job.has_result) == ("failed", EXPIRED, False)
    assert (await sales.begun()).job_id != row.job_id, "a new payment has the work done anew"


async def test_one_that_is_being_paid_for_at_that_moment_stays(
    sales: Sales, retention: Retention, database: Database, clock: FakeClock
) -> None:
    """Postgres: the reservation has the row and is not committed; the sweep waits for it and looks again."""
    if database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    row = await sales.rejected()
    clock.now += KEEP_DAYS * DAY_S + 1
    async with database._store._engine.begin() as connection:  # type: ignore[union-attr]
        await connection.execute(update(jobs).where(jobs.c.id == row.job_id).values(status="queued"))
        sweep = asyncio.create_task(retention.sweep())
        await asyncio.sleep(0.3)
        assert not sweep.done()
    await sweep
    job = await sales.job(row)
    assert (job.status, job.has_result) == ("queued", True)


async def test_a_file_that_could_not_be_deleted_is_deleted_later(
    sales: Sales,
    retention: Retention,
    clock: FakeClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = await sales.settled(LARGE)
    clock.now += KEEP_DAYS * DAY_S + 1

    async def no(_: object) -> None:
        raise OSError("not now")

    with monkeypatch.context() as patch:
        patch.setattr(retention._results, "erase", no)
        with pytest.raises(OSError, match="not now"):
            await retention.sweep()
    assert (await sales.shown(row), files(tmp_path)) == (None, [f"{row.job_id}.json"])
    await retention.sweep()
    assert (await sales.shown(row), files(tmp_path)) == (None, [])
    assert (await sales.job(row)).response_file is None


async def test_many_go_in_one_sweep(
    sales: Sales, retention: Retention, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "BATCH", 2)
    rows = [await sales.settled(LARGE if number % 2 else ANSWER) for number in range(7)]
    clock.now += KEEP_DAYS * DAY_S + 1
    await retention.sweep()
    assert ([await sales.shown(row) for row in rows], files(tmp_path)) == ([None] * 7, [])


@pytest.mark.parametrize(
    ("condition", "index"), [(HELD, "jobs_held"), (TO_ERASE, "jobs_to_erase")], ids=["held", "to erase"]
)
async def test_they_are_found_by_an_index(database: Database, condition: Any, index: str) -> None:
    if not database.is_sqlite:
        pytest.skip("Postgres reads a table this small from end to end, whatever indexes it has")
    query = jobs.select().where(condition).compile(dialect=sqlite.dialect())

    def plan(connection: Connection) -> str:
        return str(connection.execute(text(f"EXPLAIN QUERY PLAN {query}")).all())

    assert index in await database.read(plan)


async def test_a_broker_does_it_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.opening.SWEEP_EVERY_S", 0.01)
    async with open_shop(tmp_path, RESULTS_KEEP_DAYS=str(KEEP_DAYS)) as shop:
        ledger, results = shop.app.state.ledger, shop.app.state.results
        job_id = await ledger.open_unpaid(JOB)
        await ledger.finish_unpaid(job_id, await results.keep(job_id, LARGE), None)
        assert len(files(tmp_path)) == 1
        shop.clock.now += KEEP_DAYS * DAY_S + 1
        assert await until(lambda: files(tmp_path) == [])
        job = await ledger.job(job_id)
        assert (job.status, job.has_result) == ("completed", False)
