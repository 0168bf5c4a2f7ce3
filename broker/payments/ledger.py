"""The payments ledger: one durable row per authorization, moved by conditional updates (payments.md §3).

    reserved → running → ran → settling → settled
       └─────────┴→ voided         ├────→ rejected
                                   └────→ unknown

`voided`: nothing was charged and nothing will be; the same authorization may try again.
`rejected`: the settlement was refused; the result is withheld.
`unknown`: nobody knows whether money moved; never treated as failed.
"""

import json
import uuid
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.payments.authorization import Authorization
from broker.payments.offers import Offer
from broker.tables import jobs, payments
from shared.clock import Clock
from shared.database import Database
from shared.jobs import JobStatus
from shared.networks import Network

State = Literal["reserved", "running", "ran", "settling", "settled", "voided", "rejected", "unknown"]


class LedgerError(Exception):
    """A transition that the state machine does not allow: the row was not in the expected state."""


@dataclass(frozen=True)
class PaymentRow:
    """One authorization in the ledger. Amounts are atomic units; addresses and nonce lower case."""

    id: str
    job_id: str
    request_hash: str
    offer_id: str
    state: State
    payer: str
    nonce: str
    amount_atomic: int
    x402_version: int
    transaction_hash: str | None
    reason: str | None


@dataclass(frozen=True)
class JobRow:
    """One job. `quote` and `response` are parsed JSON; times are Unix milliseconds."""

    id: str
    operation: str
    requester: str
    label: str | None
    provider: str
    status: JobStatus
    quote: dict[str, Any]
    response: dict[str, Any] | None
    error: str | None
    created_at_ms: int
    updated_at_ms: int


@dataclass(frozen=True)
class NewJob:
    """What is written down when a job begins. `label` is the caller's own `x-wallet`, never an identity."""

    operation: str
    request_hash: str
    offer: Offer
    requester: str
    label: str | None = None


class Ledger:
    """All reads and writes of jobs and payments."""

    def __init__(self, database: Database, network: Network, clock: Clock) -> None:
        self._database = database
        self._network = network
        self._clock = clock

    # -- reserving -----------------------------------------------------------------------------

    async def reserve(
        self, auth: Authorization, version: int, new: NewJob, requirements: dict[str, Any]
    ) -> PaymentRow | None:
        """Claim `auth` for `new`: exactly one caller ever gets the row, all others get None.

        A voided authorization can be claimed again. The job row is written in the same transaction.
        """
        job_id, now = str(uuid.uuid4()), self._now_ms()
        fresh = {
            "job_id": job_id,
            "request_hash": new.request_hash,
            "offer_id": new.offer.id,
            "state": "reserved",
            "amount_atomic": auth.value,
            "pay_to": auth.pay_to,
            "valid_before": min(auth.valid_before, 2**62),
            "x402_version": version,
            "payload": json.dumps(auth.payload()),
            "requirements": json.dumps(requirements),
            "transaction_hash": None,
            "reason": None,
            "updated_at": now,
        }
        insert = (sqlite_insert if self._database.is_sqlite else postgres_insert)(payments).values(
            id=str(uuid.uuid4()), **self._key(auth), created_at=now, **fresh
        )
        claim = insert.on_conflict_do_update(
            index_elements=list(self._key(auth)), set_=fresh, where=payments.c.state == "voided"
        ).returning(payments)
        async with self._database.write() as connection:
            row = (await connection.execute(claim)).one_or_none()
            if row is None:
                return None
            await self._insert_job(connection, job_id, new, now)
            return _payment(row)

    async def open_unpaid(self, new: NewJob) -> str:
        """Write down a job that nobody pays for (`X402_ENABLED=false`); returns its id."""
        job_id = str(uuid.uuid4())
        async with self._database.write() as connection:
            await self._insert_job(connection, job_id, new, self._now_ms())
        return job_id

    # -- transitions ---------------------------------------------------------------------------

    async def start(self, payment: PaymentRow) -> None:
        await self._move(payment, "reserved", "running", job_status="running")

    async def keep_result(self, payment: PaymentRow, response: dict[str, Any]) -> None:
        """The work is done and its result is durable; the job is not completed before it is paid."""
        await self._move(payment, "running", "ran", job={"response": json.dumps(response)})

    async def settling(self, payment: PaymentRow) -> None:
        await self._move(payment, "ran", "settling")

    async def settled(self, payment: PaymentRow, transaction_hash: str) -> None:
        fields = {"transaction_hash": transaction_hash}
        await self._move(payment, "settling", "settled", fields=fields, job_status="completed")

    async def rejected(self, payment: PaymentRow, reason: str) -> None:
        await self._move(payment, "settling", "rejected", fields={"reason": reason}, job_status="unpaid")

    async def unknown(self, payment: PaymentRow, reason: str) -> None:
        await self._move(payment, "settling", "unknown", fields={"reason": reason})

    async def void(self, payment: PaymentRow, reason: str) -> None:
        """Nothing ran to a result and nothing was broadcast: the authorization is free again."""
        await self._move(
            payment,
            ("reserved", "running"),
            "voided",
            fields={"reason": reason},
            job={"error": reason},
            job_status="failed",
        )

    async def finish_unpaid(self, job_id: str, response: dict[str, Any] | None, error: str | None) -> None:
        values = {
            "status": "failed" if response is None else "completed",
            "response": None if response is None else json.dumps(response),
            "error": error,
            "updated_at": self._now_ms(),
        }
        async with self._database.write() as connection:
            await connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))

    # -- reading -------------------------------------------------------------------------------

    async def find(self, auth: Authorization) -> PaymentRow | None:
        conditions = [payments.c[name] == value for name, value in self._key(auth).items()]
        return await self._one_payment(*conditions)

    async def payment(self, payment_id: str) -> PaymentRow | None:
        return await self._one_payment(payments.c.id == payment_id)

    async def payment_of_job(self, job_id: str) -> PaymentRow | None:
        return await self._one_payment(payments.c.job_id == job_id)

    async def job(self, job_id: str) -> JobRow | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(jobs).where(jobs.c.id == job_id))).one_or_none()
        return None if row is None else _job(row)

    # -- inside --------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _key(self, auth: Authorization) -> dict[str, Any]:
        return {
            "chain_id": self._network.chain_id,
            "asset": self._network.asset.lower(),
            "payer": auth.payer,
            "nonce": auth.nonce,
        }

    async def _one_payment(self, *conditions: Any) -> PaymentRow | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(payments).where(*conditions))).one_or_none()
        return None if row is None else _payment(row)

    async def _insert_job(self, connection: AsyncConnection, job_id: str, new: NewJob, now: int) -> None:
        await connection.execute(
            jobs.insert().values(
                id=job_id,
                operation=new.operation,
                request_hash=new.request_hash,
                requester=new.requester,
                label=new.label,
                provider=new.offer.provider,
                status="queued",
                quote=json.dumps(new.offer.quote),
                created_at=now,
                updated_at=now,
            )
        )

    async def _move(
        self,
        payment: PaymentRow,
        source: State | tuple[State, ...],
        target: State,
        *,
        fields: dict[str, Any] | None = None,
        job: dict[str, Any] | None = None,
        job_status: JobStatus | None = None,
    ) -> None:
        now = self._now_ms()
        sources = (source,) if isinstance(source, str) else source
        job_values = {**(job or {}), **({"status": job_status} if job_status else {})}
        async with self._database.write() as connection:
            moved = await connection.execute(
                update(payments)
                .where(
                    payments.c.id == payment.id,
                    payments.c.job_id == payment.job_id,
                    payments.c.state.in_(sources),
                )
                .values(state=target, updated_at=now, **(fields or {}))
            )
            if moved.rowcount != 1:
                raise LedgerError(
                    f"payment {payment.id} was not {' or '.join(sources)} when it became {target}"
                )
            if job_values:
                await connection.execute(
                    update(jobs).where(jobs.c.id == payment.job_id).values(**job_values, updated_at=now)
                )


def _payment(row: Row[Any]) -> PaymentRow:
    return PaymentRow(**{name: getattr(row, name) for name in PaymentRow.__dataclass_fields__})


def _job(row: Row[Any]) -> JobRow:
    return JobRow(
        id=row.id,
        operation=row.operation,
        requester=row.requester,
        label=row.label,
        provider=row.provider,
        status=row.status,
        quote=json.loads(row.quote),
        response=None if row.response is None else json.loads(row.response),
        error=row.error,
        created_at_ms=row.created_at,
        updated_at_ms=row.updated_at,
    )
