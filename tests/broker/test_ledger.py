"""The ledger: one reservation per authorization, and only the allowed transitions."""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.dialects import sqlite

from broker.payments import reservations
from broker.payments.authorization import Authorization
from broker.payments.ledger import Ledger
from broker.payments.offers import Offer
from broker.payments.records import KeptResult, LedgerError, NewJob, PaymentRow, TooManyInFlight
from shared.database import Database
from shared.errors import Conflict
from shared.networks import Network
from tests.broker.conftest import FakeClock

AUTH = Authorization(
    "0x" + "aa" * 20, "0x" + "bb" * 20, 5800, 0, 1_800_000_250, "0x" + "cc" * 32, "0x" + "dd" * 65
)
OFFER = Offer("offer", "hash", 5800, "local", {"provider": "local"}, 270, 0, 0)
JOB = NewJob("run", "hash", OFFER, AUTH.payer, {"code": "x"}, 1000)
KEPT = KeptResult('{"result":1}', None, "ab" * 32)
TX = "0x" + "12" * 32


async def reserved(ledger: Ledger, auth: Authorization = AUTH) -> PaymentRow:
    claimed = await ledger.reserve(auth, 1, JOB, {})
    assert claimed is not None
    return claimed.payment


async def test_many_reservations_of_one_authorization_give_one_row(
    database: Database, network: Network, clock: FakeClock
) -> None:
    other = Database(database.url)
    ledgers = [Ledger(database, network, clock), Ledger(other, network, clock)]
    rows = await asyncio.gather(*(ledgers[n % 2].reserve(AUTH, 1 + n % 2, JOB, {}) for n in range(40)))
    await other.close()
    assert sum(row is not None for row in rows) == 1


async def test_authorizations_differ_by_payer_and_by_nonce(ledger: Ledger) -> None:
    await reserved(ledger)
    await reserved(ledger, replace(AUTH, payer="0x" + "ab" * 20))
    await reserved(ledger, replace(AUTH, nonce="0x" + "cd" * 32))


async def test_the_whole_way_to_settled(ledger: Ledger) -> None:
    row = await reserved(ledger)
    await ledger.start(row)
    row = await ledger.keep_result(row, KEPT)
    job = await ledger.job(row.job_id)
    assert job is not None
    assert job.status == "running"
    await ledger.settling(row)
    await ledger.settled(row, TX)
    found, job = await ledger.find(AUTH), await ledger.job(row.job_id)
    assert found is not None
    assert job is not None
    assert (found.state, found.transaction_hash) == ("settled", TX)
    assert (job.status, job.response, job.task) == ("completed", KEPT.text, None)
    assert await ledger.reserve(AUTH, 1, JOB, {}) is None


async def test_a_voided_authorization_is_free_again_for_a_new_job(ledger: Ledger) -> None:
    first = await reserved(ledger)
    await ledger.void(first, "executor_unavailable")
    old_job = await ledger.job(first.job_id)
    assert old_job is not None
    assert (old_job.status, old_job.error) == ("failed", "executor_unavailable")
    second = await reserved(ledger)
    assert (second.id, second.state) == (first.id, "reserved")
    assert second.job_id != first.job_id
    with pytest.raises(LedgerError):
        await ledger.start(first)


async def test_refused_and_unknown_settlements_keep_the_authorization(ledger: Ledger) -> None:
    for number, end in enumerate(("rejected", "unknown")):
        auth = replace(AUTH, nonce=f"0x{number:064x}")
        row = await reserved(ledger, auth)
        await ledger.start(row)
        await ledger.keep_result(row, KEPT)
        await ledger.settling(row)
        await (ledger.rejected(row, "why") if end == "rejected" else ledger.unknown(row, "why", 1000))
        found = await ledger.find(auth)
        assert found is not None
        assert (found.state, found.reason) == (end, "why")
        assert await ledger.reserve(auth, 1, JOB, {}) is None


async def test_no_step_can_be_skipped_or_repeated(ledger: Ledger) -> None:
    row = await reserved(ledger)
    for step in (
        ledger.keep_result(row, KEPT),
        ledger.settled(row, TX),
        ledger.rejected(row, ""),
        ledger.unknown(row, "", 1),
    ):
        with pytest.raises(LedgerError):
            await step
    await ledger.start(row)
    with pytest.raises(LedgerError):
        await ledger.start(row)
    await ledger.keep_result(row, KEPT)
    with pytest.raises(LedgerError):
        await ledger.void(row, "too late: a result is kept")


async def test_only_the_holder_of_the_lease_moves_a_payment_until_it_runs_out(
    database: Database, ledger: Ledger, network: Network, clock: FakeClock
) -> None:
    other = Ledger(database, network, clock)
    row = await reserved(ledger)
    with pytest.raises(LedgerError):
        await other.start(row)
    assert await other.take_over(10) == []
    clock.now += ledger.lease_ms / 1000 - 1
    assert await ledger.renew_leases([row.id]) == 1
    clock.now += 2
    assert await other.take_over(10) == []
    clock.now += ledger.lease_ms / 1000
    (taken,) = await other.take_over(10)
    assert (taken.id, taken.owner) == (row.id, other.owner)
    assert await ledger.take_over(10) == []
    with pytest.raises(LedgerError):
        await ledger.start(row)
    assert await ledger.renew_leases([row.id]) == 0
    await other.start(taken)


async def test_a_left_behind_payment_is_taken_over_by_one_broker_only(
    database: Database, ledger: Ledger, network: Network, clock: FakeClock
) -> None:
    for number in range(5):
        await reserved(ledger, replace(AUTH, nonce=f"0x{number:064x}"))
    clock.now += ledger.lease_ms
    others = [Ledger(Database(database.url), network, clock) for _ in range(4)]
    taken = await asyncio.gather(*(other.take_over(10) for other in others))
    for other in others:
        await other._database.close()
    ids = [row.id for rows in taken for row in rows]
    assert (len(ids), len(set(ids))) == (5, 5)


async def test_an_unknown_settlement_is_due_after_its_pause(ledger: Ledger, clock: FakeClock) -> None:
    row = await reserved(ledger)
    row = await ledger.unknown(await ledger.settling(row), "no answer", 5_000)
    assert row.attempts == 1
    assert await ledger.take_over(10) == []
    clock.now += 5.1
    (row,) = await ledger.take_over(10)
    assert row.state == "unknown"
    assert (await ledger.settled(row, TX)).state == "settled"


async def test_a_result_that_was_not_paid_for_is_released_by_a_new_authorization(ledger: Ledger) -> None:
    first = await reserved(ledger)
    await ledger.start(first)
    await ledger.keep_result(first, KEPT)
    await ledger.settling(first)
    await ledger.rejected(first, "insufficient_funds")
    second, third = [await reserved(ledger, replace(AUTH, nonce=f"0x{n:064x}")) for n in (1, 2)]
    assert second.job_id == first.job_id
    assert third.job_id != first.job_id, "one unpaid result is released by one authorization only"
    await ledger.void(second, "refused")
    job = await ledger.job(first.job_id)
    assert job is not None
    assert (job.status, job.has_result) == ("unpaid", True)
    fourth = await reserved(ledger, replace(AUTH, nonce="0x" + "04" * 32))
    assert fourth.job_id == first.job_id
    row = await ledger.settling(await ledger.skip_to_ran(fourth))
    await ledger.settled(row, TX)
    found = await ledger.payment_of_job(first.job_id)
    assert found is not None
    assert (found.id, found.state) == (fourth.id, "settled")


async def test_another_payer_does_not_get_an_unpaid_result(ledger: Ledger) -> None:
    first = await reserved(ledger)
    await ledger.keep_result(await ledger.start(first), KEPT)
    await ledger.settling(first)
    await ledger.rejected(first, "insufficient_funds")
    thief = "0x" + "ee" * 20
    claimed = await ledger.reserve(replace(AUTH, payer=thief), 1, replace(JOB, requester=thief), {})
    assert claimed is not None
    assert claimed.payment.job_id == claimed.job.id != first.job_id


async def test_one_payers_money_in_flight_is_capped(
    database: Database, network: Network, clock: FakeClock
) -> None:
    ledger = Ledger(database, network, clock, exposure_cap_atomic=2 * 5800)
    rows = [await reserved(ledger, replace(AUTH, nonce=f"0x{n:064x}")) for n in range(2)]
    with pytest.raises(TooManyInFlight):
        await reserved(ledger, replace(AUTH, nonce="0x" + "03" * 32))
    await reserved(ledger, replace(AUTH, payer="0x" + "ab" * 20))
    await ledger.void(rows[0], "over")
    await reserved(ledger, replace(AUTH, nonce="0x" + "03" * 32))


async def test_a_payment_identifier_stands_for_one_payment(ledger: Ledger) -> None:
    name = "order-0000000001"
    claimed = await ledger.reserve(AUTH, 2, JOB, {}, name)
    assert claimed is not None
    first = claimed.payment
    assert await ledger.find_identified(AUTH.payer, name) == first
    assert await ledger.find_identified("0x" + "ab" * 20, name) is None
    again = replace(AUTH, nonce="0x" + "01" * 32)
    with pytest.raises(Conflict):
        await ledger.reserve(again, 2, JOB, {}, name)
    assert await ledger.find(again) is None, "the whole reservation is undone"
    await ledger.void(first, "refused")
    assert await ledger.reserve(again, 2, JOB, {}, name) is not None


async def test_paid_ahead_the_money_moves_first_and_a_failure_owes_a_refund(ledger: Ledger) -> None:
    ahead = replace(JOB, offer=replace(OFFER, quote={"settle": "before"}))
    for number, fails in enumerate((False, True)):
        claimed = await ledger.reserve(replace(AUTH, nonce=f"0x{number:064x}"), 1, ahead, {})
        assert claimed is not None
        row = await ledger.settled(await ledger.settling(claimed.payment), TX)
        assert (row.state, row.transaction_hash) == ("running", TX)
        with pytest.raises(LedgerError):
            await ledger.void(row, "money has moved")
        row = await (ledger.owe_refund(row, "provider_failed") if fails else ledger.keep_result(row, KEPT))
        job, refund = await ledger.job(row.job_id), await ledger.refund_of(row.id)
        assert job is not None
        assert row.state == "settled"
        assert job.status == ("failed" if fails else "completed")
        assert (refund is not None) is fails
        if refund is not None:
            assert (refund["state"], refund["amount_atomic"], refund["payer"]) == ("owed", 5800, AUTH.payer)


async def test_the_ledger_survives_a_restart(database: Database, ledger: Ledger, network: Network) -> None:
    row = await reserved(ledger)
    await database.close()
    again = Database(database.url)
    await again.migrate("broker:migrations", "broker_version")
    found = await Ledger(again, network, FakeClock()).payment(row.id)
    await again.close()
    assert found == row


async def test_brokers_may_migrate_a_new_database_at_once(database: Database, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    if not database.is_sqlite:
        url = database.url
        for statement in ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public"):
            await database.write(partial(Connection.execute, statement=text(statement)))
    databases = [Database(url) for _ in range(4)]
    await asyncio.gather(*(d.migrate("broker:migrations", "broker_version") for d in databases))
    for migrated in databases:
        await migrated.close()


async def test_the_migrations_make_exactly_the_declared_tables(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from broker.tables import metadata

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"version_table": "broker_version"})
        return list(compare_metadata(context, metadata))

    assert await database.read(differences) == []


async def test_an_unpaid_result_is_found_by_its_index_and_not_among_all_jobs(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("Postgres reads a table this small from end to end, whatever indexes it has")
    query = reservations._UNPAID_JOB.params(at_hash="hash", at_payer=AUTH.payer).compile(
        dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}
    )
    plan = await database.read(
        lambda connection: connection.execute(text(f"EXPLAIN QUERY PLAN {query}")).all()
    )
    assert "USING INDEX jobs_unpaid" in str(plan)
