"""Looking jobs and payments up. Nothing here changes anything."""

import uuid
from collections import Counter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from broker.payments.authorization import Authorization
from broker.payments.records import EXPOSED, JobRow, PaymentRow, Standing, read_job, read_payment_row
from broker.tables import identifiers, jobs, payments, refunds
from shared.clock import Clock
from shared.database import Database
from shared.networks import Network

_JOB = select(jobs).where(jobs.c.id == bindparam("at_id"))
OPEN_PAYMENTS = (
    select(payments.c.state, func.count())
    .where(payments.c.state.in_([literal_column(f"'{state}'") for state in EXPOSED]))
    .group_by(payments.c.state)
)
"""Answered from `payments_by_state` alone, and of what has ended it reads nothing."""
_OWED = select(func.coalesce(func.sum(refunds.c.amount_atomic), 0)).where(refunds.c.state == "owed")


class Readings:
    """The ledger's queries.

    `exposure_cap_atomic` bounds what one payer may have in flight; `lease_ms` is how long a payment in
    flight belongs to the broker that last gave a sign of life for it.
    """

    def __init__(
        self,
        database: Database,
        network: Network,
        clock: Clock,
        *,
        exposure_cap_atomic: int = 2**62,
        lease_ms: int = 15_000,
    ) -> None:
        self._database = database
        self._network = network
        self._clock = clock
        self._exposure_cap_atomic = exposure_cap_atomic
        self.lease_ms = lease_ms
        self.owner = uuid.uuid4().hex
        self.events: Counter[str] = Counter()
        """What became of payments at this broker since it started: states, and `refund_owed`."""
        self.settled_atomic = 0
        """What was settled here since then."""

    async def find(self, auth: Authorization) -> PaymentRow | None:
        return await self._one_payment(*(payments.c[name] == v for name, v in self._key(auth).items()))

    async def find_identified(self, payer: str, identifier: str) -> PaymentRow | None:
        """The payment that carries this payment-identifier of `payer`."""
        join = select(identifiers.c.payment_id).where(
            identifiers.c.payer == payer, identifiers.c.identifier == identifier
        )
        return await self._one_payment(payments.c.id == join.scalar_subquery())

    async def payment(self, payment_id: str) -> PaymentRow | None:
        return await self._one_payment(payments.c.id == payment_id)

    async def payment_of_job(self, job_id: str) -> PaymentRow | None:
        """The payment that a job's fate hangs on: the settled one, else the latest."""
        query = (
            select(payments)
            .where(payments.c.job_id == job_id)
            .order_by((payments.c.state == "settled").desc(), payments.c.created_at.desc())
            .limit(1)
        )
        return await self._database.read(lambda connection: _payment(connection, query))

    async def job(self, job_id: str) -> JobRow | None:
        return await self._database.read(lambda connection: find_job(connection, job_id))

    async def refund_of(self, payment_id: str) -> dict[str, Any] | None:
        """The refund row of a payment, as a plain mapping, or None."""
        query = select(refunds).where(refunds.c.payment_id == payment_id)

        def find(connection: Connection) -> dict[str, Any] | None:
            row = connection.execute(query).mappings().one_or_none()
            return None if row is None else dict(row)

        return await self._database.read(find)

    async def standing(self) -> Standing:
        def stand(connection: Connection) -> Standing:
            by_state = {str(state): int(count) for state, count in connection.execute(OPEN_PAYMENTS)}
            return Standing(by_state, int(connection.execute(_OWED).scalar_one()))

        return await self._database.read(stand)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _key(self, auth: Authorization) -> dict[str, Any]:
        return {
            "chain_id": self._network.chain_id,
            "asset": self._network.asset.lower(),
            "payer": auth.payer,
            "nonce": auth.nonce,
        }

    def _insert(self, table: Any) -> Any:
        return (sqlite_insert if self._database.is_sqlite else postgres_insert)(table)

    async def _one_payment(self, *conditions: ColumnElement[bool]) -> PaymentRow | None:
        query = select(payments).where(*conditions)
        return await self._database.read(lambda connection: _payment(connection, query))


def find_job(connection: Connection, job_id: str) -> JobRow | None:
    """The job with this id, as the transaction of `connection` sees it."""
    row = connection.execute(_JOB, {"at_id": job_id}).one_or_none()
    return None if row is None else read_job(row)


def existing_job(connection: Connection, job_id: str) -> JobRow:
    """A job that this transaction has just touched."""
    return read_job(connection.execute(_JOB, {"at_id": job_id}).one())


def _payment(connection: Connection, query: Select[Any]) -> PaymentRow | None:
    row = connection.execute(query).one_or_none()
    return None if row is None else read_payment_row(row)
