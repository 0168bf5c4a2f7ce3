"""Kept results: one row for each job id, claimed before the work starts.

The row is the claim: whoever inserts it does the work. While the work goes on its lease is extended;
a row whose lease has run out belongs to an executor that died. Rules:

- a result is kept for `ttl_s`, and the oldest go first beyond `max_rows` or `max_bytes`;
- a failure of ours keeps nothing: the claim is given back and the same job id may run again;
- a dead executor's claim is reported once as `executor_lost`, then it is gone as well;
- a job that was undone is a row without a result: it blocks the job id for as long as a result would.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, cast

from sqlalchemy import (
    Connection,
    Float,
    Integer,
    String,
    Table,
    Text,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.exc import ArgumentError, IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.database import Database, database_url
from shared.errors import StartupError


class Base(DeclarativeBase):
    """The executor's tables."""


class JobRow(Base):
    """A claimed or finished job. Times are Unix seconds; `result` is JSON once it is finished."""

    __tablename__ = "executor_jobs"

    job_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    owner: Mapped[str] = mapped_column(String(32))
    lease_until: Mapped[float] = mapped_column(Float)
    created_at: Mapped[float] = mapped_column(Float)
    finished_at: Mapped[float | None] = mapped_column(Float, index=True)
    size_bytes: Mapped[int] = mapped_column(Integer, default=0)
    result: Mapped[str | None] = mapped_column(Text)


_TABLE = cast(Table, JobRow.__table__)
_MINE = (
    _TABLE.c.job_id == bindparam("at_job"),
    _TABLE.c.owner == bindparam("at_owner"),
    _TABLE.c.finished_at.is_(None),
)
_CLAIM = _TABLE.insert()
_KEEP = (
    update(_TABLE)
    .where(*_MINE)
    .values({name: bindparam(name) for name in ("result", "finished_at", "size_bytes")})
)
_RELEASE = delete(_TABLE).where(*_MINE)
_UNDONE = "undone"
"""In place of a fingerprint, which is 64 characters of hex."""


class Claim(Enum):
    """What came of an attempt to claim a job id."""

    WON = "won"
    RUNNING = "running"
    LOST = "lost"
    CONFLICT = "conflict"
    UNDONE = "undone"


@dataclass(frozen=True)
class Bounds:
    """How much is kept, and how long a claim holds without a sign of life."""

    ttl_s: float = 86_400
    max_rows: int = 10_000
    max_bytes: int = 2**30
    lease_s: float = 15.0


class Results:
    """The table. All methods may raise `sqlalchemy.exc.SQLAlchemyError`."""

    def __init__(self, database: Database, owner: str, clock: Callable[[], float], bounds: Bounds) -> None:
        self._database = database
        self._owner = owner
        self._clock = clock
        self.bounds = bounds

    async def open(self) -> None:
        await self._database.create(Base.metadata)

    async def close(self) -> None:
        await self._database.close()

    async def ping(self) -> None:
        await self._database.ping()

    async def claim(self, job_id: str, fingerprint: str) -> Claim | str:
        """Claim `job_id`, or say who has it. A `str` is the kept result (JSON).

        A lost claim is removed by the call that learns of it.
        """
        now = self._clock()
        row = {
            "job_id": job_id,
            "fingerprint": fingerprint,
            "owner": self._owner,
            "lease_until": now + self.bounds.lease_s,
            "created_at": now,
            "size_bytes": 0,
        }
        try:
            await self._database.write(lambda connection: connection.execute(_CLAIM, row))
            return Claim.WON
        except IntegrityError:
            return await self._database.write(
                lambda connection: self._look(connection, job_id, fingerprint, now)
            )

    def _look(self, connection: Connection, job_id: str, fingerprint: str, now: float) -> Claim | str:
        found = connection.execute(select(_TABLE).where(JobRow.job_id == job_id)).first()
        if found is None:
            return Claim.RUNNING  # given back just now: ask again
        as_read = delete(JobRow).where(JobRow.job_id == job_id, _same(found))
        if found.finished_at is not None and found.finished_at <= now - self.bounds.ttl_s:
            connection.execute(as_read)
            return Claim.RUNNING
        if found.fingerprint != fingerprint:
            return Claim.UNDONE if found.fingerprint == _UNDONE else Claim.CONFLICT
        if found.result is not None:
            return str(found.result)
        if found.lease_until > now:
            return Claim.RUNNING
        return Claim.LOST if connection.execute(as_read).rowcount else Claim.RUNNING

    async def keep(self, job_id: str, result: str) -> bool:
        """Finish a claim of ours with its result (JSON). Whether it was ours still."""
        values = {"result": result, "finished_at": self._clock(), "size_bytes": len(result)}
        mine = {"at_job": job_id, "at_owner": self._owner}
        changed = {**values, **mine}
        return await self._database.write(lambda connection: connection.execute(_KEEP, changed).rowcount > 0)

    async def undo(self, job_id: str) -> None:
        """Neither keep a result of this job id, nor let anybody claim it. Idempotent."""
        now = self._clock()
        undone = {
            "fingerprint": _UNDONE,
            "result": None,
            "finished_at": now,
            "size_bytes": 0,
            "lease_until": now,
        }
        row = {"job_id": job_id, "owner": self._owner, "created_at": now, **undone}
        at_job = update(_TABLE).where(_TABLE.c.job_id == job_id).values(undone)

        def work(connection: Connection) -> None:
            if not connection.execute(at_job).rowcount:
                connection.execute(_CLAIM, row)

        try:
            await self._database.write(work)
        except IntegrityError:  # claimed just now
            await self._database.write(work)

    async def is_undone(self, job_id: str) -> bool:
        undone = select(_TABLE.c.job_id).where(_TABLE.c.job_id == job_id, _TABLE.c.fingerprint == _UNDONE)
        return await self._database.read(lambda connection: connection.execute(undone).first() is not None)

    async def release(self, job_id: str) -> None:
        """Give a claim of ours back: nothing is kept."""
        mine = {"at_job": job_id, "at_owner": self._owner}
        await self._database.write(lambda connection: connection.execute(_RELEASE, mine))

    async def extend(self) -> None:
        """A sign of life for all our claims."""
        until = self._clock() + self.bounds.lease_s
        unfinished = (JobRow.owner == self._owner, JobRow.finished_at.is_(None))
        extended = update(JobRow).where(*unfinished).values(lease_until=until)
        await self._database.write(lambda connection: connection.execute(extended))

    async def sweep(self) -> int:
        """Remove what is expired or too much, oldest first. Returns how many rows went."""
        total = func.sum(JobRow.size_bytes).over(order_by=(JobRow.finished_at.desc(), JobRow.job_id))
        rank = func.row_number().over(order_by=(JobRow.finished_at.desc(), JobRow.job_id))
        ranked = (
            select(JobRow.job_id, JobRow.finished_at, total.label("total"), rank.label("rank"))
            .where(JobRow.finished_at.is_not(None))
            .subquery()
        )
        surplus = select(ranked.c.job_id).where(
            (ranked.c.finished_at <= self._clock() - self.bounds.ttl_s)
            | (ranked.c.total > self.bounds.max_bytes)
            | (ranked.c.rank > self.bounds.max_rows)
        )
        removed = delete(JobRow).where(JobRow.job_id.in_(surplus))
        return await self._database.write(lambda connection: connection.execute(removed).rowcount)


def _same(found: Any) -> Any:
    """The row as it was read, so that two readers do not both act on it."""
    return (JobRow.owner == found.owner) & (JobRow.lease_until == found.lease_until)


def open_database(url: str | None, folder: Path, name: str = "executor.sqlite") -> Database:
    """The database of `url`, else the file `name` in `folder`. Raises `StartupError` for an odd URL."""
    try:
        return Database(database_url(url, folder / name))
    except (ArgumentError, ModuleNotFoundError) as exc:
        raise StartupError(f"DATABASE_URL cannot be used: {exc}.") from None
