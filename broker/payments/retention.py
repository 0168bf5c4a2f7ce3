"""How long results are kept (`RESULTS_KEEP_DAYS`). The ledger keeps payments, jobs and receipts for good."""

from sqlalchemy import Connection, case, select, update

from broker.payments.records import EXPOSED
from broker.payments.results import Results
from broker.tables import HELD, TO_ERASE, jobs, payments
from shared.clock import Clock
from shared.database import Database

DAY_MS = 86_400_000
BATCH, MOST_BATCHES = 200, 50
"""In one sweep; the rest waits for the next one."""
EXPIRED = "its result was kept for as long as this host keeps results"
_ENDED = ("completed", "unpaid")


class Retention:
    """Lets go of results whose time is over; 0 days is for good. Any number of brokers may do it at once."""

    def __init__(self, database: Database, results: Results, clock: Clock, keep_days: int) -> None:
        self._database = database
        self._results = results
        self._clock = clock
        self._keep_ms = keep_days * DAY_MS

    async def sweep(self) -> None:
        """Raises `SQLAlchemyError`, and `OSError` for a file that cannot be deleted."""
        for _ in range(MOST_BATCHES if self._keep_ms else 0):
            if await self._database.write(self._expire) < BATCH:
                break
        for _ in range(MOST_BATCHES):
            if await self._erase() < BATCH:
                break

    def _expire(self, connection: Connection) -> int:
        """Results that were paid, or that nobody paid for, and that no payment waits for.

        An unpaid one fails with it: a new payment of the same request finds no result to pay for.
        """
        now_ms = int(self._clock() * 1000)
        in_flight = select(payments.c.id).where(payments.c.job_id == jobs.c.id, payments.c.state.in_(EXPOSED))
        over = (HELD, jobs.c.updated_at < now_ms - self._keep_ms, jobs.c.status.in_(_ENDED))
        oldest = select(jobs.c.id).where(*over, ~in_flight.exists()).order_by(jobs.c.updated_at).limit(BATCH)
        unpaid = jobs.c.status == "unpaid"
        # All conditions once more: meanwhile somebody may have begun to pay for an unpaid one.
        expired = update(jobs).where(jobs.c.id.in_(oldest), *over, ~in_flight.exists())
        return connection.execute(
            expired.values(
                response=None,
                expired_at=now_ms,
                status=case((unpaid, "failed"), else_=jobs.c.status),
                error=case((unpaid, EXPIRED), else_=jobs.c.error),
            )
        ).rowcount

    async def _erase(self) -> int:
        """Delete files, then forget their names: when that is interrupted the next sweep does it again."""
        found = select(jobs.c.id, jobs.c.response_file).where(TO_ERASE).limit(BATCH)
        rows = await self._database.read(lambda connection: list(connection.execute(found)))
        if rows:
            await self._results.erase([row.response_file for row in rows])
            erased = update(jobs).where(jobs.c.id.in_([row.id for row in rows])).values(response_file=None)
            await self._database.write(lambda connection: connection.execute(erased))
        return len(rows)
