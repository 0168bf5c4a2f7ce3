"""Tasks that agents asked for, kept until they are paid and for a while longer."""

import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from broker.a2a.asked import Asked
from broker.a2a.tables import a2a_tasks
from broker.payments.offers import Offer
from broker.payments.records import CAME_TO_NOTHING
from broker.tables import payments
from shared.clock import Clock
from shared.database import Database
from shared.errors import Unavailable
from shared.networks import Network

MAX_UNPAID = 50_000
MAX_UNPAID_BYTES = 128 * 1024 * 1024
"""Of all tasks that nobody has paid for, together; whoever asks for more is told to come back."""
SHARE = 4
"""One address may have a quarter of that, so that no single one keeps all others from asking."""
RETRY_S = 60
LATE_MS = 10 * 60 * 1000
"""How long after its offer a task is still known: whoever pays late is told the new price."""
PAID_MS = 7 * 24 * 3600 * 1000
"""How long a paid task is known under its own id; its job stays."""
_ID = re.compile(r"[0-9a-f-]{36}", re.ASCII)

_UNPAID = select(func.count(), func.coalesce(func.sum(a2a_tasks.c.size_bytes), 0)).where(
    a2a_tasks.c.payer.is_(None)
)
_UNPAID_OF_ONE = _UNPAID.where(a2a_tasks.c.asker == bindparam("who"))


def is_id(text: str) -> bool:
    """Whether a task or a job might have this id: not every database may be asked for just any text."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True)
class Claim:
    """The authorization that a task is being paid with (lower case), since `at_ms` (Unix milliseconds)."""

    payer: str
    nonce: str
    at_ms: int

    def is_of(self, payer: str, nonce: str) -> bool:
        return (self.payer, self.nonce) == (payer, nonce)


@dataclass(frozen=True)
class Task:
    """A task as it was asked for; `provider` and `quote` are those of its offer, times Unix milliseconds.

    `job_id` is the job that its claim paid for, None as long as no money has moved or may yet move.
    """

    id: str
    asked: Asked
    label: str | None
    provider: str
    quote: dict[str, Any]
    created_at_ms: int
    expires_at_ms: int
    claim: Claim | None
    job_id: str | None


class Tasks:
    """The tasks of one database, shared by all its brokers."""

    def __init__(self, database: Database, network: Network, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        # One network's authorizations, in the order of the index that makes each of them unique.
        self._paid = and_(
            payments.c.chain_id == network.chain_id,
            payments.c.asset == network.asset.lower(),
            payments.c.payer == a2a_tasks.c.payer,
            payments.c.nonce == a2a_tasks.c.nonce,
            payments.c.request_hash == a2a_tasks.c.request_hash,
            payments.c.state.not_in(CAME_TO_NOTHING),
        )

    def now_ms(self) -> int:
        return int(self._clock() * 1000)

    async def keep(self, asked: Asked, label: str | None, offer: Offer, asker: str) -> Task:
        """Remember what `offer` is for. Raises `Unavailable` when too much is remembered already.

        `asker` is the address that asks.
        """
        task = Task(
            id=str(uuid.uuid4()),
            asked=asked,
            label=label,
            provider=offer.provider,
            quote=offer.quote,
            created_at_ms=self.now_ms(),
            expires_at_ms=offer.expires_at_ms,
            claim=None,
            job_id=None,
        )
        row = {
            "id": task.id,
            "operation": asked.operation,
            "request_hash": offer.request_hash,
            "label": label,
            "provider": offer.provider,
            "quote": json.dumps(offer.quote),
            "size_bytes": len(asked.body),
            "created_at": task.created_at_ms,
            "expires_at": task.expires_at_ms,
            "body": asked.body.decode(),
            "asker": asker,
        }

        def write(connection: Connection) -> None:
            size = len(asked.body)
            of_one = connection.execute(_UNPAID_OF_ONE, {"who": asker}).one()
            if _is_full(of_one, size, SHARE) or _is_full(connection.execute(_UNPAID).one(), size, 1):
                raise Unavailable(
                    "too many tasks wait for their payment here; nothing was charged",
                    code="too_many_tasks",
                    retry_after_s=RETRY_S,
                )
            connection.execute(insert(a2a_tasks), row)

        await self._database.write(write)
        return task

    async def find(self, task_id: str) -> Task | None:
        """The task with this id, whatever was made of it."""
        if not is_id(task_id):
            return None
        return await self._database.read(lambda connection: self._find(connection, task_id))

    async def renew(self, task: Task, offer: Offer) -> None:
        """The price was named anew: the task lives as long as the new offer."""
        renewed = (
            update(a2a_tasks)
            .where(a2a_tasks.c.id == task.id, a2a_tasks.c.expires_at < offer.expires_at_ms)
            .values(provider=offer.provider, quote=json.dumps(offer.quote), expires_at=offer.expires_at_ms)
        )
        await self._database.write(lambda connection: connection.execute(renewed))

    async def claim(self, task: Task, payer: str, nonce: str, *, instead_of: Claim | None = None) -> Task:
        """The task as it is now: of any number of authorizations one has claimed it, or has it from before.

        `instead_of` is a claim that has come to nothing. A task that is gone stands as it was, unclaimed.
        """
        free = [a2a_tasks.c.payer.is_(None), _held_by(payer, nonce)]
        if instead_of is not None:
            free.append(_held_by(instead_of.payer, instead_of.nonce))
        claimed = (
            update(a2a_tasks)
            .where(a2a_tasks.c.id == task.id, or_(*free))
            .values(payer=payer, nonce=nonce, claimed_at=self.now_ms())
        )

        def write(connection: Connection) -> Task:
            connection.execute(claimed)
            return self._find(connection, task.id) or task

        return await self._database.write(write)

    async def release(self, task: Task, payer: str, nonce: str) -> None:
        """Give the claim up, unless the ledger says that its authorization pays for this task."""
        released = (
            update(a2a_tasks)
            .where(a2a_tasks.c.id == task.id, _held_by(payer, nonce), ~exists().where(self._paid))
            .values(payer=None, nonce=None, claimed_at=None)
        )
        await self._database.write(lambda connection: connection.execute(released))

    async def sweep(self) -> int:
        """Delete what was not paid in time, and what was paid long ago; returns how many."""
        now = self.now_ms()
        unpaid = and_(a2a_tasks.c.payer.is_(None), a2a_tasks.c.expires_at < now - LATE_MS)
        old = delete(a2a_tasks).where(or_(unpaid, a2a_tasks.c.expires_at < now - PAID_MS))
        return await self._database.write(lambda connection: int(connection.execute(old).rowcount))

    def _find(self, connection: Connection, task_id: str) -> Task | None:
        query = (
            select(a2a_tasks, payments.c.job_id)
            .outerjoin(payments, self._paid)
            .where(a2a_tasks.c.id == task_id)
        )
        row = connection.execute(query).one_or_none()
        return None if row is None else _task(row)


def _is_full(unpaid: Row[Any], size_bytes: int, share: int) -> bool:
    """Whether there is no room for one more of this size, in a part of all there is."""
    count, kept_bytes = (int(number) for number in unpaid)
    return share * (count + 1) > MAX_UNPAID or share * (kept_bytes + size_bytes) > MAX_UNPAID_BYTES


def _held_by(payer: str, nonce: str) -> Any:
    return and_(a2a_tasks.c.payer == payer, a2a_tasks.c.nonce == nonce)


def _task(row: Row[Any]) -> Task:
    return Task(
        id=row.id,
        asked=Asked(row.operation, row.body.encode()),
        label=row.label,
        provider=row.provider,
        quote=json.loads(row.quote),
        created_at_ms=row.created_at,
        expires_at_ms=row.expires_at,
        claim=None if row.payer is None else Claim(row.payer, row.nonce, row.claimed_at),
        job_id=row.job_id,
    )
