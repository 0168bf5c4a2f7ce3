"""How a payment begins: one claim per authorization, over any number of brokers on one database."""

import json
import secrets
import uuid
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, func, literal_column, or_, select, text, update

from broker.payments.authorization import Authorization
from broker.payments.readings import Readings, existing_job
from broker.payments.records import (
    CAME_TO_NOTHING,
    EXPOSED,
    JobRow,
    NewJob,
    PaymentRow,
    Reservation,
    TooManyInFlight,
)
from broker.tables import UNPAID, identifiers, jobs, payments
from shared.errors import Conflict
from shared.prepared import run

_KEY = ("chain_id", "asset", "payer", "nonce")
_EXPOSED: list[ColumnElement[str]] = [literal_column(f"'{state}'") for state in EXPOSED]
_UNPAID_JOB = (
    select(jobs.c.id)
    .where(
        UNPAID,
        jobs.c.request_hash == bindparam("at_hash"),
        jobs.c.requester == bindparam("at_payer"),
        or_(jobs.c.response.is_not(None), jobs.c.response_file.is_not(None)),
    )
    .limit(1)
)
_LOOK = select(
    select(func.coalesce(func.sum(payments.c.amount_atomic), 0))
    .where(payments.c.payer == bindparam("at_payer"), payments.c.state.in_(_EXPOSED))
    .scalar_subquery(),
    _UNPAID_JOB.scalar_subquery(),
)
"""What the payer has in flight, and a job of his that waits for a payment of this very request."""
_ADOPT = update(jobs).where(jobs.c.id == bindparam("at_job"), UNPAID).values(status="queued")
_PAY_FOR = update(payments).where(payments.c.id == bindparam("at_id")).values(job_id=bindparam("job_id"))
_INSERT_JOB = jobs.insert()


class Reservations(Readings):
    """Claims authorizations and writes their jobs down."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._claim = self._claim_statement()

    async def reserve(
        self,
        auth: Authorization,
        version: int,
        new: NewJob,
        requirements: dict[str, Any],
        identifier: str | None = None,
    ) -> Reservation | None:
        """Claim `auth` for `new`: exactly one caller ever gets the row, all others get None.

        A voided authorization can be claimed again. The job is written in the same transaction; when this
        payer has the same request's result lying unpaid, that job is claimed instead of a new one. Raises
        `TooManyInFlight` over the exposure cap, `Conflict` when `identifier` stands for another request.
        """
        now = self._now_ms()
        payment_id, job_id = _two_ids()
        fresh = {"job_id": job_id, **self._fresh(auth, version, new, requirements, now)}

        def reserve(connection: Connection) -> Reservation | None:
            self._lock_payer(connection, auth.payer)
            claim = {"id": payment_id, "created_at": now, **self._key(auth), **fresh}
            claimed = run(connection, self._claim, claim).one_or_none()
            if claimed is None:
                return None
            job = self._job_for(connection, new, fresh["job_id"], now)
            if job.id != fresh["job_id"]:
                connection.execute(_PAY_FOR, {"at_id": claimed.id, "job_id": job.id})
            row = {**self._key(auth), **fresh, **claimed._asdict(), "job_id": job.id}
            row |= {"payload": auth.payload(), "requirements": requirements}
            payment = PaymentRow(**{name: row[name] for name in PaymentRow.__dataclass_fields__})
            if identifier is not None:
                self._claim_identifier(connection, identifier, payment, now)
            return Reservation(payment, job)

        reserved = await self._database.write(reserve)
        if reserved is not None:
            self.events["reserved"] += 1
        return reserved

    async def open_unpaid(self, new: NewJob) -> str:
        """Write down a job that nobody pays for (`X402_ENABLED=false`); returns its id."""
        row = _job_row(str(uuid.uuid4()), new, self._now_ms())
        await self._database.write(lambda connection: connection.execute(_INSERT_JOB, row))
        return str(row["id"])

    def _lock_payer(self, connection: Connection, payer: str) -> None:
        """On Postgres, one reservation of a payer at a time, so that its exposure is counted right.

        SQLite has one writer at a time anyway.
        """
        if not self._database.is_sqlite:
            key = int(payer[-15:], 16)
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

    def _fresh(
        self, auth: Authorization, version: int, new: NewJob, requirements: dict[str, Any], now: int
    ) -> dict[str, Any]:
        return {
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

    def _claim_statement(self) -> Any:
        """Insert a payment, or take a voided one over; nothing comes back when somebody else has it."""
        insert = self._insert(payments)
        changed = [column.name for column in payments.c if column.name not in {"id", "created_at", *_KEY}]
        return insert.on_conflict_do_update(
            index_elements=list(_KEY),
            set_={name: insert.excluded[name] for name in changed},
            where=payments.c.state == "voided",
        ).returning(payments.c.id, payments.c.created_at)

    def _job_for(self, connection: Connection, new: NewJob, job_id: str, now: int) -> JobRow:
        """The job that is paid for: a new one, or one whose result waits for a payment."""
        ask = {"at_payer": new.requester, "at_hash": new.request_hash}
        exposed_atomic, unpaid = run(connection, _LOOK, ask).one()
        if int(exposed_atomic) > self._exposure_cap_atomic:
            raise TooManyInFlight
        if unpaid is not None and connection.execute(_ADOPT, {"at_job": unpaid}).rowcount:
            return existing_job(connection, unpaid)
        row = _job_row(job_id, new, now)
        run(connection, _INSERT_JOB, row)
        return JobRow(
            id=job_id,
            operation=new.operation,
            requester=new.requester,
            label=new.label,
            provider=new.offer.provider,
            status="queued",
            quote=new.offer.quote,
            task=new.task,
            time_limit_ms=new.time_limit_ms,
            response=None,
            response_file=None,
            response_hash=None,
            error=None,
            created_at_ms=now,
            updated_at_ms=now,
        )

    def _claim_identifier(self, connection: Connection, identifier: str, row: PaymentRow, now: int) -> None:
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
        if connection.execute(claim).rowcount != 1:
            raise Conflict("this payment-identifier was already used", code="payment_identifier_used")


def _two_ids() -> tuple[str, str]:
    """Two random UUIDs (version 4) for one question to the kernel."""
    chance = secrets.token_bytes(32)
    return str(uuid.UUID(bytes=chance[:16], version=4)), str(uuid.UUID(bytes=chance[16:], version=4))


def _job_row(job_id: str, new: NewJob, now: int) -> dict[str, Any]:
    return {
        "id": job_id,
        "operation": new.operation,
        "request_hash": new.request_hash,
        "requester": new.requester,
        "label": new.label,
        "provider": new.offer.provider,
        "status": "queued",
        "quote": json.dumps(new.offer.quote),
        "task": json.dumps(new.task),
        "time_limit_ms": new.time_limit_ms,
        "created_at": now,
        "updated_at": now,
    }
