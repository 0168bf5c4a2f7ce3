"""How each provider did lately: the share of its jobs that it did, and how long they took.

Noted in memory while jobs run, written down every few seconds, and read back with what other executors on the
same database noted. A crash loses the last seconds of it, and no job waits for it.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from sqlalchemy import (
    Boolean,
    Connection,
    Index,
    Integer,
    String,
    delete,
    insert,
    select,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, mapped_column

from executor.once import every
from executor.providers.remote import NotOffered
from executor.results import Base
from shared.database import Database
from shared.errors import GalaksioError

KEPT = 50
"""Jobs of each provider that count."""
EXCHANGE_EVERY_S = 5.0
UNWRITTEN_MAX = 5_000
"""Beyond this nothing is noted: the database has been away for long."""
Whose = tuple[str, str]
"""Kind and name of a provider."""


class OutcomeRow(Base):
    """One job that a provider was given."""

    __tablename__ = "executor_outcomes"
    __table_args__ = (Index("executor_outcomes_by_provider", "kind", "provider", "id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(32))
    provider: Mapped[str] = mapped_column(String(64))
    done: Mapped[bool] = mapped_column(Boolean)
    took_ms: Mapped[int] = mapped_column(Integer)


@dataclass(frozen=True)
class Outcome:
    """`done`: it did the job. What the client is to blame for is no outcome at all."""

    done: bool
    took_ms: int


@dataclass(frozen=True)
class Measured:
    """`success_rate` from 0 to 1; `typical_ms` is the median of the jobs that were done. None: no such."""

    success_rate: float | None = None
    typical_ms: int | None = None


def is_failure_of_provider(error: Exception) -> bool:
    """Whether a job that failed speaks against whoever was given it."""
    if isinstance(error, GalaksioError):
        return error.status >= 500 and not isinstance(error, NotOffered)
    return True


class Measures:
    """Of all providers. The tables of `executor.results` are made before it is opened."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[Whose, list[Outcome]] = {}
        self._unwritten: deque[tuple[Whose, Outcome]] = deque()
        self._chore: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self.exchange()
        self._chore = asyncio.create_task(every(EXCHANGE_EVERY_S, self.exchange), name="measures")

    async def close(self) -> None:
        if self._chore is not None:
            self._chore.cancel()
            await asyncio.gather(self._chore, return_exceptions=True)
        with contextlib.suppress(SQLAlchemyError):
            await self.exchange()

    def note(self, whose: Whose, outcome: Outcome) -> None:
        if len(self._unwritten) < UNWRITTEN_MAX:
            self._unwritten.append((whose, outcome))

    def of(self, whose: Whose) -> Measured:
        """What the last `KEPT` jobs say."""
        fresh = [outcome for noted, outcome in self._unwritten if noted == whose]
        outcomes = [*self._known.get(whose, []), *fresh][-KEPT:]
        done_ms = [outcome.took_ms for outcome in outcomes if outcome.done]
        return Measured(
            success_rate=round(len(done_ms) / len(outcomes), 3) if outcomes else None,
            typical_ms=round(median(done_ms)) if done_ms else None,
        )

    async def exchange(self) -> None:
        """Write down what is new, and read what all executors know. Raises `SQLAlchemyError`."""
        writing = list(self._unwritten)
        if not writing:
            self._known = await self._database.read(_read)
            return
        self._known = await self._database.write(lambda connection: _write(connection, writing))
        for _ in writing:
            self._unwritten.popleft()


def _write(connection: Connection, outcomes: Sequence[tuple[Whose, Outcome]]) -> dict[Whose, list[Outcome]]:
    """Add these, keep the newest of each provider, and return what there is then."""
    rows = [
        {"kind": kind, "provider": name, "done": outcome.done, "took_ms": outcome.took_ms}
        for (kind, name), outcome in outcomes
    ]
    connection.execute(insert(OutcomeRow), rows)
    for kind, name in {whose for whose, _ in outcomes}:
        its = (OutcomeRow.kind == kind, OutcomeRow.provider == name)
        newest = select(OutcomeRow.id).where(*its).order_by(OutcomeRow.id.desc()).limit(KEPT)
        connection.execute(delete(OutcomeRow).where(*its, OutcomeRow.id.not_in(newest)))
    return _read(connection)


def _read(connection: Connection) -> dict[Whose, list[Outcome]]:
    """Oldest first. The table has about `KEPT` rows for each provider."""
    columns = (OutcomeRow.kind, OutcomeRow.provider, OutcomeRow.done, OutcomeRow.took_ms)
    found: dict[Whose, list[Outcome]] = {}
    for row in connection.execute(select(*columns).order_by(OutcomeRow.id)):
        found.setdefault((row.kind, row.provider), []).append(Outcome(row.done, row.took_ms))
    return found
