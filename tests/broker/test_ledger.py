"""The ledger: one reservation per authorization, and only the allowed transitions."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker.payments.authorization import Authorization
from broker.payments.ledger import Ledger, LedgerError, NewJob, PaymentRow
from broker.payments.offers import Offer
from shared.database import Database
from shared.networks import Network
from tests.broker.conftest import FakeClock

AUTH = Authorization(
    "0x" + "aa" * 20, "0x" + "bb" * 20, 5800, 0, 1_800_000_250, "0x" + "cc" * 32, "0x" + "dd" * 65
)
OFFER = Offer("offer", "hash", 5800, "local", {"provider": "local"}, 270, 0, 0)
JOB = NewJob("run", "hash", OFFER, AUTH.payer)
TX = "0x" + "12" * 32


async def reserved(ledger: Ledger, auth: Authorization = AUTH) -> PaymentRow:
    row = await ledger.reserve(auth, 1, JOB, {})
    assert row is not None
    return row


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
    await ledger.keep_result(row, {"result": 1})
    job = await ledger.job(row.job_id)
    assert job is not None
    assert job.status == "running"
    await ledger.settling(row)
    await ledger.settled(row, TX)
    found, job = await ledger.find(AUTH), await ledger.job(row.job_id)
    assert found is not None
    assert job is not None
    assert (found.state, found.transaction_hash) == ("settled", TX)
    assert (job.status, job.response) == ("completed", {"result": 1})
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
        await ledger.keep_result(row, {"result": "secret"})
        await ledger.settling(row)
        await getattr(ledger, end)(row, "why")
        found = await ledger.find(auth)
        assert found is not None
        assert (found.state, found.reason) == (end, "why")
        assert await ledger.reserve(auth, 1, JOB, {}) is None


async def test_no_step_can_be_skipped_or_repeated(ledger: Ledger) -> None:
    row = await reserved(ledger)
    for step in (
        ledger.keep_result(row, {}),
        ledger.settling(row),
        ledger.settled(row, TX),
        ledger.rejected(row, ""),
        ledger.unknown(row, ""),
    ):
        with pytest.raises(LedgerError):
            await step
    await ledger.start(row)
    with pytest.raises(LedgerError):
        await ledger.start(row)
    await ledger.keep_result(row, {})
    with pytest.raises(LedgerError):
        await ledger.void(row, "too late: a result is kept")


async def test_the_ledger_survives_a_restart(database: Database, ledger: Ledger, network: Network) -> None:
    row = await reserved(ledger)
    await database.close()
    again = Database(database.url)
    await again.migrate("broker:migrations", "broker_version")
    found = await Ledger(again, network, FakeClock()).payment(row.id)
    await again.close()
    assert found == row


async def test_two_brokers_may_migrate_a_new_database_at_once(tmp_path: Path) -> None:
    databases = [Database(f"sqlite+aiosqlite:///{tmp_path / 'new.sqlite'}") for _ in range(4)]
    await asyncio.gather(*(d.migrate("broker:migrations", "broker_version") for d in databases))
    for database in databases:
        await database.close()


async def test_the_migrations_make_exactly_the_declared_tables(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from broker.tables import metadata

    def differences(connection: object) -> list[object]:
        context = MigrationContext.configure(connection, opts={"version_table": "broker_version"})  # type: ignore[arg-type]
        return list(compare_metadata(context, metadata))

    async with database.read() as connection:
        assert await connection.run_sync(differences) == []
