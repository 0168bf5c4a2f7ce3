"""How a payment begins: one claim per authorization, over any number of brokers on one database."""

import json
import uuid
from typing import Any

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.payments.authorization import Authorization
from broker.payments.readings import Readings
from broker.payments.records import (
    CAME_TO_NOTHING,
    EXPOSED,
    NewJob,
    PaymentRow,
    TooManyInFlight,
    read_payment_row,
)
from broker.tables import identifiers, jobs, payments
from shared.errors import Conflict


class Reservations(Readings):
    """Claims authorizations and writes their jobs down."""

    async def reserve(
        self,
        auth: Authorization,
        version: int,
        new: NewJob,
        requirements: dict[str, Any],
        identifier: str | None = None,
    ) -> PaymentRow | None:
        """Claim `auth` for `new`: exactly one caller ever gets the row, all others get None.

        A voided authorization can be claimed again. The job is written in the same transaction; when this
        payer has the same request's result lying unpaid, that job is claimed instead of a new one. Raises
        `TooManyInFlight` over the exposure cap, `Conflict` when `identifier` stands for another request.
        """
        now = self._now_ms()
        async with self._database.write() as connection:
            await self._lock_payer(connection, auth.payer)
            fresh = self._fresh(auth, version, new, requirements, now)
            row = await self._claim(connection, auth, fresh, now)
            if row is None:
                return None
            await self._check_exposure(connection, auth.payer)
            job_id = await self._adopt_unpaid(connection, new, now)
            if job_id is None:
                job_id = row.job_id
                await self._insert_job(connection, job_id, new, now)
            else:
                await connection.execute(
                    update(payments).where(payments.c.id == row.id).values(job_id=job_id)
                )
            if identifier is not None:
                await self._claim_identifier(connection, identifier, row, now)
            found = await connection.execute(select(payments).where(payments.c.id == row.id))
            return read_payment_row(found.one())

    async def open_unpaid(self, new: NewJob) -> str:
        """Write down a job that nobody pays for (`X402_ENABLED=false`); returns its id."""
        job_id = str(uuid.uuid4())
        async with self._database.write() as connection:
            await self._insert_job(connection, job_id, new, self._now_ms())
        return job_id

    async def _lock_payer(self, connection: AsyncConnection, payer: str) -> None:
        """On Postgres, one reservation of a payer at a time, so that its exposure is counted right.

        SQLite has one writer at a time anyway.
        """
        if not self._database.is_sqlite:
            key = int(payer[-15:], 16)
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

    def _fresh(
        self, auth: Authorization, version: int, new: NewJob, requirements: dict[str, Any], now: int
    ) -> dict[str, Any]:
        return {
            "job_id": str(uuid.uuid4()),
            "request_hash": new.request_hash,
            "offer_id": new.offer.id,
            "state": "reserved",
            "settle": new.offer.settle,
            "owner": self.owner,
            "lease_until": now + self.lease_ms,
            "attempts": 0,
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

    async def _claim(
        self, connection: AsyncConnection, auth: Authorization, fresh: dict[str, Any], now: int
    ) -> PaymentRow | None:
        claim = (
            self._insert(payments)
            .values(id=str(uuid.uuid4()), **self._key(auth), created_at=now, **fresh)
            .on_conflict_do_update(
                index_elements=list(self._key(auth)), set_=fresh, where=payments.c.state == "voided"
            )
            .returning(payments)
        )
        row = (await connection.execute(claim)).one_or_none()
        return None if row is None else read_payment_row(row)

    async def _check_exposure(self, connection: AsyncConnection, payer: str) -> None:
        total = (
            await connection.execute(
                select(func.coalesce(func.sum(payments.c.amount_atomic), 0)).where(
                    payments.c.payer == payer, payments.c.state.in_(EXPOSED)
                )
            )
        ).scalar_one()
        if int(total) > self._exposure_cap_atomic:
            raise TooManyInFlight

    async def _adopt_unpaid(self, connection: AsyncConnection, new: NewJob, now: int) -> str | None:
        waiting = (
            select(jobs.c.id)
            .where(
                jobs.c.request_hash == new.request_hash,
                jobs.c.requester == new.requester,
                jobs.c.status == "unpaid",
                or_(jobs.c.response.is_not(None), jobs.c.response_file.is_not(None)),
            )
            .limit(1)
        )
        claim = (
            update(jobs)
            .where(jobs.c.id == waiting.scalar_subquery(), jobs.c.status == "unpaid")
            .values(status="queued", updated_at=now)
            .returning(jobs.c.id)
        )
        found: str | None = (await connection.execute(claim)).scalar_one_or_none()
        return found

    async def _claim_identifier(
        self, connection: AsyncConnection, identifier: str, row: PaymentRow, now: int
    ) -> None:
        """Bind the payer's idempotency key to this payment; one whose payment came to nothing is free."""
        mine = {"payment_id": row.id, "request_hash": row.request_hash}
        nothing = select(payments.c.id).where(payments.c.state.in_(CAME_TO_NOTHING))
        claim = (
            self._insert(identifiers)
            .values(payer=row.payer, identifier=identifier, created_at=now, **mine)
            .on_conflict_do_update(
                index_elements=["payer", "identifier"],
                set_=mine,
                where=or_(identifiers.c.payment_id == row.id, identifiers.c.payment_id.in_(nothing)),
            )
        )
        if (await connection.execute(claim)).rowcount != 1:
            raise Conflict("this payment-identifier was already used", code="payment_identifier_used")

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
                task=json.dumps(new.task),
                time_limit_ms=new.time_limit_ms,
                created_at=now,
                updated_at=now,
            )
        )
