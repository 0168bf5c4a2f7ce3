"""The page's numbers against rows written by hand, over SQLite and Postgres."""

import math
import random
import uuid
from typing import Any

import pytest
from sqlalchemy import insert, text, update

from broker.dashboard.figures import Books
from broker.dashboard.queries import LATEST, OLDEST_OWED, OTHER_STATES, settled_by_day
from broker.dashboard.tallies import HOUR_MS, LATE_MS, MINUTE_MS
from broker.tables import payments, refunds
from shared.database import Database
from shared.networks import Network
from tests.broker.accounts.conftest import ALICE, BOB, write_payment
from tests.broker.conftest import FakeClock

DAY_MS = 86_400_000
PAYER = "0x" + "ab" * 20


@pytest.fixture
def books(database: Database, network: Network, clock: FakeClock) -> Books:
    return Books(database, network, clock)


@pytest.fixture
def now_ms(clock: FakeClock) -> int:
    return int(clock.now * 1000)


async def settled(database: Database, at_ms: int, *, amount: int = 100, took_ms: int = 10, **job: Any) -> str:
    """A payment that was settled at `at_ms`."""
    times = {"created_at": at_ms - took_ms, "updated_at": at_ms}
    return await write_payment(database, PAYER, at_ms=0, amount_atomic=amount, job={**times, **job}, **times)


async def test_revenue_is_told_apart_by_day_operation_and_provider(
    books: Books, database: Database, now_ms: int
) -> None:
    midnight = now_ms // DAY_MS * DAY_MS
    await settled(database, now_ms, amount=1)
    await settled(database, midnight, amount=10, operation="store", provider="pinata")
    await settled(database, midnight - 1, amount=100)
    await settled(database, midnight - 6 * DAY_MS, amount=1_000)
    await settled(database, midnight - 6 * DAY_MS - 1, amount=10_000)
    await settled(database, 5, amount=100_000, operation="store", provider="pinata")
    for state in ("reserved", "running", "ran", "settling", "voided", "rejected", "unknown"):
        await write_payment(database, ALICE, at_ms=now_ms, amount_atomic=7, state=state)
    elsewhere = {"provider": "elsewhere"}
    await write_payment(database, ALICE, at_ms=now_ms - 500, amount_atomic=9, chain_id=8453, job=elsewhere)
    found = (await books.read()).revenue
    assert (found.today.amountAtomic, found.week.amountAtomic, found.all.amountAtomic) == (
        "11",
        "1111",
        "111111",
    )
    assert (found.all.count, found.all.amountUsd) == (6, "0.111111")
    lines = {(line.operation, line.provider): line for line in found.lines}
    assert lines["run", "local"].all.amountAtomic == "11101"
    assert lines["store", "pinata"].today.amountAtomic == "10"
    assert lines["store", "pinata"].all.amountAtomic == "100010"
    assert len(lines) == 2


async def test_numbers_stay_equal_to_the_ledgers_while_rows_arrive_and_time_goes_by(
    books: Books, database: Database, clock: FakeClock
) -> None:
    """Each row is read once and kept: what is shown must be the same as counting all anew."""
    chance = random.Random(7)
    total = count = 0
    for step in range(40):
        for _ in range(chance.randrange(3)):
            amount = chance.randrange(1, 10**9)
            late_ms = chance.randrange(LATE_MS // 2)
            await settled(database, int(clock.now * 1000) - late_ms, amount=amount)
            total, count = total + amount, count + 1
        figures = await books.read()
        assert (figures.revenue.all.amountAtomic, figures.revenue.all.count) == (str(total), count), step
        assert figures.payments.states["settled"] == count
        anew = await Books(books._database, books._network, clock).read()
        assert figures.revenue == anew.revenue
        assert figures.last_hour == anew.last_hour
        clock.now += chance.choice([0.5, 10, 61, 100, 400, -30])


async def test_a_row_that_was_committed_very_late_is_found_by_counting_anew(
    books: Books, database: Database, clock: FakeClock
) -> None:
    await books.read()
    clock.now += 1800
    await settled(database, int(clock.now * 1000) - LATE_MS - 2 * MINUTE_MS)
    clock.now += 60
    await books.read()
    clock.now += HOUR_MS / 1000
    assert (await books.read()).revenue.all.count == 1


async def test_the_last_hour_is_by_minute_with_exact_percentiles(
    books: Books, database: Database, clock: FakeClock
) -> None:
    clock.now += 30
    now_ms = int(clock.now * 1000)
    this_minute = now_ms // MINUTE_MS * MINUTE_MS
    took = list(range(1, 31))
    random.Random(1).shuffle(took)
    for took_ms in took:
        await settled(database, this_minute - 3 * MINUTE_MS, amount=2, took_ms=took_ms)
    await settled(database, now_ms, amount=5, took_ms=777)
    await settled(database, this_minute - 60 * MINUTE_MS, amount=1_000_000)
    hour = (await books.read()).last_hour
    assert len(hour.at) == len(hour.jobs) == len(hour.revenueUsd) == len(hour.p50Ms) == len(hour.p95Ms) == 60
    assert hour.at[-1] == this_minute // 1000
    assert (hour.jobs[-1], hour.revenueUsd[-1], hour.p50Ms[-1], hour.p95Ms[-1]) == (1, "0.000005", 777, 777)
    assert (hour.revenueUsd[-4], hour.p50Ms[-4], hour.p95Ms[-4]) == (
        "0.00006",
        sorted(took)[math.ceil(0.50 * 30) - 1],
        sorted(took)[math.ceil(0.95 * 30) - 1],
    )
    assert sum(hour.jobs) == 31
    assert hour.p50Ms[-2] is None


async def test_of_many_jobs_the_latest_fifty_are_shown_each_with_the_payment_that_counts(
    books: Books, database: Database, now_ms: int
) -> None:
    ids = [await settled(database, now_ms - 1000 * age, amount=age + 1) for age in range(53)]
    rejected = await write_payment(
        database, ALICE, at_ms=now_ms + 1, state="rejected", amount_atomic=9, job={"error": "x" * 5000}
    )
    await with_another_payment(database, rejected)
    jobs = (await books.read()).jobs
    assert len(jobs) == 50
    assert (jobs[0].paymentState, jobs[0].priceUsd) == ("settled", "0.000011")
    assert len(jobs[0].error or "") == 300
    assert [job.priceUsd for job in jobs[1:4]] == ["0.000001", "0.000002", "0.000003"]
    assert len(ids) == 53


async def test_refunds_and_unknown_payments_are_listed_oldest_first(
    books: Books, database: Database, network: Network, now_ms: int
) -> None:
    unknown = await write_payment(
        database, ALICE, at_ms=now_ms, state="unknown", reason="no answer", attempts=3
    )
    elsewhere = await write_payment(database, BOB, at_ms=1000, chain_id=8453)
    newer = await settled(database, now_ms)
    done = await settled(database, now_ms)
    for payment_id, amount, at_ms, state in (
        (newer, 30, now_ms, "owed"),
        (elsewhere, 4, 1000, "owed"),
        (done, 500, 1, "paid"),
    ):
        row = {"payment_id": payment_id, "job_id": "gone", "payer": BOB, "amount_atomic": amount}
        row |= {"state": state, "reason": "provider_failed", "created_at": at_ms, "updated_at": at_ms}
        await database.write(lambda connection, row=row: connection.execute(insert(refunds).values(row)))
    figures = await books.read()
    assert (figures.refunds.total.count, figures.refunds.total.amountAtomic) == (2, "34")
    assert [line.paymentId for line in figures.refunds.oldest] == [elsewhere, newer]
    assert [line.network for line in figures.refunds.oldest] == ["eip155:8453", network.name]
    [line] = figures.payments.unknown
    assert (line.id, line.attempts, line.reason) == (unknown, 3, "no answer")
    assert figures.payments.states["unknown"] == 1


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (LATEST, "jobs_by_time"),
        (OLDEST_OWED, "refunds_owed"),
        (OTHER_STATES, "payments_by_state"),
        (settled_by_day(0, 2**60), "payments_settled"),
    ],
)
async def test_no_question_reads_a_whole_table(database: Database, query: Any, index: str) -> None:
    if not database.is_sqlite:
        pytest.skip("Postgres chooses by the size of a table, which is empty here")
    plan = str(query.compile(compile_kwargs={"literal_binds": True}))
    rows = await database.read(
        lambda connection: connection.execute(text(f"EXPLAIN QUERY PLAN {plan}")).all()
    )
    told = "\n".join(str(row[3]) for row in rows)
    assert index in told, told
    scanned = [line for line in told.splitlines() if line.startswith("SCAN") and "INDEX" not in line]
    assert [line for line in scanned if "(subquery" not in line and "anon" not in line] == [], told


async def with_another_payment(database: Database, payment_id: str) -> None:
    """The job of `payment_id` was paid by another authorization, before."""
    moved = update(payments).where(payments.c.id == payment_id).returning(payments)

    def add(connection: Any) -> None:
        row = dict(connection.execute(moved.values(reason="refused")).mappings().one())
        other = {"id": str(uuid.uuid4()), "nonce": "0x" + uuid.uuid4().hex * 2, "state": "settled"}
        connection.execute(insert(payments).values({**row, **other, "amount_atomic": 11, "created_at": 1}))

    await database.write(add)
