"""The payments ledger: one durable row per authorization, moved by conditional updates (payments.md §3).

    reserved → running → settling → settled              settle after the work (the default)
    reserved → ran → settling → settled                  the work was done for an earlier authorization
    reserved → settling → running → settled              settle before it, where upstream money moves
       └─────────┴→ voided         ├────→ rejected
                                   └────→ unknown → settled | rejected | settling

`voided`: nothing was charged and nothing will be; the same authorization may try again.
`rejected`: the settlement was refused; the result is withheld.
`unknown`: nobody knows whether money moved; never treated as failed.

A row in flight is leased by one broker. Only the holder of the lease may move it, and whoever finds a
lease that has run out may take it over: a broker that was killed or froze cannot act on it any more.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import Connection, Executable, Row, Update, and_, bindparam, literal_column, select, update

from broker.payments.records import (
    EXPOSED,
    IN_FLIGHT,
    JobRow,
    KeptResult,
    LedgerError,
    PaymentRow,
    State,
    read_job,
    read_payment_row,
)
from broker.payments.reservations import Reservations
from broker.tables import UNDO, jobs, payments, refunds
from shared.jobs import JobStatus
from shared.prepared import run

_NO_RESULT = {"response": None, "response_file": None, "response_hash": None}


class Ledger(Reservations):
    """Jobs and payments on their way; `Reservations` begins them, `Readings` looks at them."""

    # -- transitions ---------------------------------------------------------------------------

    async def start(self, payment: PaymentRow) -> PaymentRow:
        """The work begins. (Paid before the work: straight out of `settling`, see `paid_ahead`.)"""
        return await self._move(payment, "reserved", "running", job_status="running")

    async def skip_to_ran(self, payment: PaymentRow) -> PaymentRow:
        """The job was done for an earlier authorization that did not settle: nothing is run again."""
        return await self._move(payment, "reserved", "ran")

    async def keep_result(self, payment: PaymentRow, kept: KeptResult) -> PaymentRow:
        """The work is done and its result durable; the settlement begins. Not completed before it is paid.

        One commit for both: what is found in `settling` may or may not have been asked for, and is looked
        up before it is asked for again.
        """
        if payment.transaction_hash is not None:
            return await self._move(
                payment, "running", "settled", job=kept.columns(), job_status="completed", forget_task=True
            )
        return await self._move(payment, "running", "settling", job=kept.columns())

    async def settling(self, payment: PaymentRow) -> PaymentRow:
        """The facilitator is about to be asked; also again, after a broker died while asking."""
        return await self._move(payment, ("reserved", "ran", "settling", "unknown"), "settling")

    async def settled(self, payment: PaymentRow, transaction_hash: str) -> PaymentRow:
        """The money has moved: the job is completed, or, paid before the work, now begins."""
        fields = {"transaction_hash": transaction_hash, "reason": None}
        source: tuple[State, ...] = ("settling", "unknown")
        if payment.settle == "before":
            moved = await self._move(payment, source, "running", fields=fields, job_status="running")
        else:
            moved = await self._move(
                payment, source, "settled", fields=fields, job_status="completed", forget_task=True
            )
        self.settled_atomic += payment.amount_atomic
        return moved

    async def rejected(self, payment: PaymentRow, reason: str, *, undo: bool = False) -> PaymentRow:
        """Refused for certain. Work that was done is withheld; work paid ahead never began.

        With `undo` it left something behind: that is to be taken back, and there is no result any more.
        """
        return await self._move(
            payment,
            ("settling", "unknown"),
            "rejected",
            fields={"reason": reason},
            job={**_NO_RESULT, "undo_due": self._now_ms()} if undo else None,
            job_status="unpaid" if payment.settle == "after" else "failed",
            forget_task=True,
        )

    async def unknown(self, payment: PaymentRow, reason: str, retry_in_ms: int) -> PaymentRow:
        """Let go of the row; it is looked at again after `retry_in_ms`, by whichever broker comes first."""
        fields = {
            "reason": reason,
            "attempts": payment.attempts + 1,
            "lease_until": self._now_ms() + retry_in_ms,
        }
        return await self._move(payment, ("settling", "unknown"), "unknown", fields=fields)

    async def void(self, payment: PaymentRow, reason: str, *, undo: bool = False) -> PaymentRow:
        """Nothing ran to a result and nothing was broadcast: the authorization is free again.

        With `undo` the work was begun and may have left something behind, which is to be taken back.
        """
        if payment.transaction_hash is not None:
            raise LedgerError(f"payment {payment.id} has moved money and cannot be voided")
        job = await self.job(payment.job_id)
        has_result = job is not None and job.has_result
        left = {"undo_due": self._now_ms()} if undo else {}
        return await self._move(
            payment,
            ("reserved", "running"),
            "voided",
            fields={"reason": reason},
            job=left if has_result else {**left, "error": reason},
            job_status="unpaid" if has_result else "failed",
            forget_task=True,
        )

    async def to_undo(self, limit: int) -> list[JobRow]:
        """Jobs that left something behind, to be taken back now."""
        query = select(jobs).where(UNDO, jobs.c.undo_due <= self._now_ms()).order_by(jobs.c.undo_due)
        return await self._database.read(
            lambda connection: [read_job(row) for row in connection.execute(query.limit(limit))]
        )

    async def undone(self, job_id: str, *, again_in_ms: int | None = None) -> None:
        """Nothing of the job remains; or that is not certain yet, and is to be tried again."""
        due = None if again_in_ms is None else self._now_ms() + again_in_ms
        done = update(jobs).where(jobs.c.id == job_id).values(undo_due=due)
        await self._database.write(lambda connection: connection.execute(done))

    async def give_to(self, payment: PaymentRow, job: JobRow, provider: str) -> JobRow:
        """Have somebody else do the work of a payment that is ours, before that begins."""
        mine = select(payments.c.id).where(
            payments.c.id == payment.id, payments.c.owner == self.owner, payments.c.state == "running"
        )
        given = (
            update(jobs)
            .where(jobs.c.id == job.id, mine.exists())
            .values(provider=provider, updated_at=self._now_ms())
        )
        if await self._database.write(lambda connection: connection.execute(given).rowcount) != 1:
            raise LedgerError(f"payment {payment.id} was not ours when its work was given to {provider}")
        return replace(job, provider=provider)

    async def owe_refund(self, payment: PaymentRow, reason: str) -> PaymentRow:
        """Paid ahead and the work failed: the payment stands, and the same amount is owed back."""
        now = self._now_ms()
        owed = {
            "payment_id": payment.id,
            "job_id": payment.job_id,
            "payer": payment.payer,
            "amount_atomic": payment.amount_atomic,
            "state": "owed",
            "reason": reason,
            "created_at": now,
            "updated_at": now,
        }
        moved = await self._move(
            payment,
            "running",
            "settled",
            job={"error": reason},
            job_status="failed",
            forget_task=True,
            also=refunds.insert().values(**owed),
        )
        self.events["refund_owed"] += 1
        return moved

    async def finish_unpaid(self, job_id: str, kept: KeptResult | None, error: str | None) -> None:
        """The end of a job that nobody pays for."""
        values: dict[str, Any] = {
            "status": "failed" if kept is None else "completed",
            "error": error,
            "task": None,
            "updated_at": self._now_ms(),
            **({} if kept is None else kept.columns()),
        }
        ended = update(jobs).where(jobs.c.id == job_id).values(values)
        await self._database.write(lambda connection: connection.execute(ended))

    # -- leases --------------------------------------------------------------------------------

    async def renew_leases(self, payment_ids: Collection[str]) -> int:
        """Keep what this broker works on; returns how many rows that is."""
        kept = (
            update(payments)
            .where(
                payments.c.id.in_(payment_ids),
                payments.c.owner == self.owner,
                payments.c.state.in_(IN_FLIGHT),
            )
            .values(lease_until=self._now_ms() + self.lease_ms)
        )
        return await self._database.write(lambda connection: int(connection.execute(kept).rowcount))

    async def take_over(self, limit: int, but_not: Collection[str] = ()) -> list[PaymentRow]:
        """Lease rows that nobody works on: left behind in flight, or unknown and due.

        `but_not`: ids of those that this broker works on. It may have been frozen until their leases ran out.
        """
        now = self._now_ms()
        due = and_(payments.c.state.in_(EXPOSED), payments.c.lease_until < now)
        query = select(payments.c.id).where(due, payments.c.id.not_in(but_not)).limit(limit)
        found = await self._database.read(lambda connection: connection.execute(query).scalars().all())
        taken = []
        for payment_id in found:
            claim = (
                update(payments)
                .where(payments.c.id == payment_id, due)
                .values(owner=self.owner, lease_until=now + self.lease_ms)
                .returning(payments)
            )
            row = await self._database.write(partial(_one, claim))
            if row is not None:
                taken.append(read_payment_row(row))
        return taken

    async def _move(
        self,
        payment: PaymentRow,
        source: State | Sequence[State],
        target: State,
        *,
        fields: dict[str, Any] | None = None,
        job: dict[str, Any] | None = None,
        job_status: JobStatus | None = None,
        forget_task: bool = False,
        also: Any = None,
    ) -> PaymentRow:
        now = self._now_ms()
        sources = (source,) if isinstance(source, str) else tuple(source)
        job_values = {**(job or {}), **({"status": job_status} if job_status else {})}
        if forget_task:
            job_values["task"] = None
        changed = {"lease_until": now + self.lease_ms, **(fields or {}), "state": target, "updated_at": now}
        at = {"at_id": payment.id, "at_job": payment.job_id, "at_owner": self.owner}
        move_payment = _payment_update(sources, tuple(changed))
        move_job = _job_update((*job_values, "updated_at")) if job_values else None

        def move(connection: Connection) -> None:
            if run(connection, move_payment, {**at, **changed}).rowcount != 1:
                raise LedgerError(
                    f"payment {payment.id} was not ours and {' or '.join(sources)} when it became {target}"
                )
            if move_job is not None:
                run(connection, move_job, {"at_job": payment.job_id, **job_values, "updated_at": now})
            if also is not None:
                connection.execute(also)

        await self._database.write(move)
        self.events[target] += 1
        known = PaymentRow.__dataclass_fields__.keys()
        return replace(payment, **{name: value for name, value in changed.items() if name in known})


@lru_cache(maxsize=128)
def _payment_update(sources: tuple[State, ...], columns: tuple[str, ...]) -> Update:
    """Move a payment that is ours and in one of `sources`. Built once: building costs more than running."""
    return (
        update(payments)
        .where(
            payments.c.id == bindparam("at_id"),
            payments.c.job_id == bindparam("at_job"),
            payments.c.owner == bindparam("at_owner"),
            payments.c.state.in_([literal_column(f"'{state}'") for state in sources]),
        )
        .values({name: bindparam(name) for name in columns})
    )


@lru_cache(maxsize=128)
def _job_update(columns: tuple[str, ...]) -> Update:
    return (
        update(jobs)
        .where(jobs.c.id == bindparam("at_job"))
        .values({name: bindparam(name) for name in columns})
    )


def _one(statement: Executable, connection: Connection) -> Row[Any] | None:
    return connection.execute(statement).one_or_none()
