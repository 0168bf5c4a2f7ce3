"""What was paid to others, written down before it is sent (providers.md, Paying upstream).

Only `unused` frees a budget. A step of a job has one payment that counts: asked again it is that one.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select, text, update

from executor.upstream.base import Spending
from executor.upstream.errors import UpstreamOverBudget
from executor.upstream.tables import COUNTS, metadata, payments
from shared.clock import Clock
from shared.database import Database
from shared.money import atomic_to_usd

DAY_S = 86_400
_LOCK = 0x75707374
"""Key of the Postgres advisory lock under which budgets are counted."""
_OPEN = ("reserved", "unknown")
State = Literal["reserved", "paid", "unknown", "unused"]


@dataclass(frozen=True)
class Limits:
    """What may be spent on one call, and within any 24 hours, in 10^-6 USD."""

    call_atomic: int
    day_atomic: int


@dataclass(frozen=True)
class Draft:
    """A payment that is about to be made."""

    step: str
    url_host: str
    method: str
    x402_version: int
    chain_id: int
    asset: str
    payer: str
    pay_to: str
    amount_atomic: int
    amount: int


@dataclass(frozen=True)
class Signed:
    """An authorization. `payload` is the value of the header that carries it."""

    nonce: str
    valid_before: int
    payload: str


@dataclass(frozen=True)
class Payment:
    """One row."""

    id: str
    job_id: str
    provider: str
    url_host: str
    x402_version: int
    chain_id: int
    payer: str
    nonce: str | None
    pay_to: str
    amount_atomic: int
    valid_before: int | None
    state: State
    payload: str | None
    transaction_hash: str | None
    takes: int


Sign = Callable[[], Signed | None]
"""Makes the authorization, once it is certain that it may be made; None where somebody else signs."""


class Journal:
    """The table. Methods may raise `sqlalchemy.exc.SQLAlchemyError`."""

    def __init__(self, database: Database, clock: Clock, limits: Limits) -> None:
        self._database = database
        self._clock = clock
        self.limits = limits

    async def open(self) -> None:
        await self._database.create(metadata)

    async def close(self) -> None:
        await self._database.close()

    async def take(self, spending: Spending, step: str) -> Payment | None:
        """The payment of this step, to be sent once more; None while there is none that counts."""
        ours = _of_step(spending, step)
        found = select(payments.c.id).where(*ours)
        if await self._database.read(lambda connection: connection.execute(found).first()) is None:
            return None
        return await self._database.write(lambda connection: self._take(connection, spending, step))

    async def reserve(self, draft: Draft, spending: Spending, sign: Sign) -> Payment:
        """Write `draft` down, signed, if it is within every limit; else raise `UpstreamOverBudget`.

        Atomic over all executors on one database. When the step has its payment already, it is that one.
        """

        def reserve(connection: Connection) -> Payment:
            self._lock(connection)
            if known := self._take(connection, spending, draft.step):
                return known
            self._check(connection, draft, spending)
            # Signed in here, because nothing may be signed that is over a limit: 0.7 ms, on SQLite in its
            # writer's thread.
            row = self._row(draft, spending, sign())
            connection.execute(payments.insert(), row)
            return _payment(row)

        return await self._database.write(reserve)

    async def conclude(
        self, payment_id: str, state: State, *, transaction: str | None = None, reason: str | None = None
    ) -> None:
        """Write down how it ended; what is certain already stays as it is."""
        values = {"state": state, "reason": reason, "updated_at": self._clock()}
        if transaction is not None:
            values["transaction_hash"] = transaction
        known = update(payments).where(payments.c.id == payment_id, payments.c.state.in_(_OPEN))
        await self._database.write(lambda connection: connection.execute(known.values(values)))

    async def withdraw(self, payment_id: str, reason: str) -> bool:
        """Give up a payment that its only taker never sent. Whether nobody else had taken it."""
        mine = (payments.c.id == payment_id, payments.c.state == "reserved", payments.c.takes == 1)
        values = {"state": "unused", "reason": reason, "updated_at": self._clock()}
        given_up = update(payments).where(*mine).values(values)
        return await self._database.write(lambda connection: connection.execute(given_up).rowcount > 0)

    async def overdue(self, chain_id: int, asset: str, before_s: float, most: int) -> list[Payment]:
        """Payments of unknown fate whose authorization ended before `before_s`, the oldest first."""
        of_token = (payments.c.chain_id == chain_id, payments.c.asset == asset.lower())
        ended = (payments.c.state.in_(_OPEN), payments.c.valid_before < before_s)
        oldest = select(payments).where(*of_token, *ended).order_by(payments.c.valid_before).limit(most)
        return await self._database.read(
            lambda connection: [_payment(row._mapping) for row in connection.execute(oldest)]
        )

    async def day_atomic(self) -> int:
        """What was spent within the last 24 hours."""
        return await self._database.read(self._day)

    def _take(self, connection: Connection, spending: Spending, step: str) -> Payment | None:
        ours = _of_step(spending, step)
        taken = update(payments).where(*ours).values(takes=payments.c.takes + 1)
        if not connection.execute(taken).rowcount:
            return None
        row: Row[Any] = connection.execute(select(payments).where(*ours)).one()
        return _payment(row._mapping)

    def _check(self, connection: Connection, draft: Draft, spending: Spending) -> None:
        asked, call = draft.amount_atomic, self.limits.call_atomic
        what = f"{spending.provider} asks for ${atomic_to_usd(asked)}"
        if asked > call:
            raise UpstreamOverBudget(
                f"{what}, which is over the ${atomic_to_usd(call)} that one call may cost "
                "(UPSTREAM_MAX_CALL_USD)."
            )
        job = call if spending.limit_atomic is None else spending.limit_atomic
        spent = _sum(connection, payments.c.job_id == spending.job_id)
        if spent + asked > job:
            raise UpstreamOverBudget(
                f"{what}, and of the ${atomic_to_usd(job)} that this job may spend on other providers "
                f"${atomic_to_usd(spent)} are spent."
            )
        day, today = self.limits.day_atomic, self._day(connection)
        if today + asked > day:
            raise UpstreamOverBudget(
                f"{what}, and of the ${atomic_to_usd(day)} that may be spent in 24 hours "
                f"(UPSTREAM_MAX_DAY_USD) ${atomic_to_usd(today)} are spent."
            )

    def _day(self, connection: Connection) -> int:
        return _sum(connection, payments.c.created_at > self._clock() - DAY_S)

    def _lock(self, connection: Connection) -> None:
        """On Postgres, one reservation at a time. SQLite has one writer at a time anyway."""
        if not self._database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})

    def _row(self, draft: Draft, spending: Spending, signed: Signed | None) -> dict[str, Any]:
        now = self._clock()
        return {
            **vars(draft),
            "id": str(uuid.uuid4()),
            "job_id": spending.job_id,
            "provider": spending.provider,
            "asset": draft.asset.lower(),
            "payer": draft.payer.lower(),
            "pay_to": draft.pay_to.lower(),
            "amount": str(draft.amount),
            "nonce": signed.nonce if signed else None,
            "valid_before": signed.valid_before if signed else None,
            "payload": signed.payload if signed else None,
            "state": "reserved",
            "transaction_hash": None,
            "takes": 1,
            "created_at": now,
            "updated_at": now,
        }


def _of_step(spending: Spending, step: str) -> tuple[Any, ...]:
    key = {"job_id": spending.job_id, "provider": spending.provider, "step": step}
    return (COUNTS, *(payments.c[name] == value for name, value in key.items()))


def _sum(connection: Connection, which: Any) -> int:
    total = select(func.coalesce(func.sum(payments.c.amount_atomic), 0)).where(COUNTS, which)
    return int(connection.execute(total).scalar_one())


def _payment(row: Any) -> Payment:
    return Payment(**{name: row[name] for name in Payment.__dataclass_fields__})
