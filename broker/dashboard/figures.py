"""What the ledger says: jobs, revenue, refunds, payments, and the last hour by minute."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from eth_utils.address import to_checksum_address
from sqlalchemy import Connection, Row

from broker.dashboard import queries
from broker.dashboard.queries import DAY_MS
from broker.dashboard.schemas import (
    JobLine,
    LastHour,
    Owed,
    OwedLine,
    Payments,
    Revenue,
    RevenueLine,
    Sum,
    UnknownLine,
)
from broker.dashboard.tallies import HOUR_MS, MINUTE_MS, Key, Sums, Tally
from shared.clock import Clock, iso
from shared.database import Database
from shared.money import atomic_to_usd
from shared.networks import Network

WEEK_DAYS = 7
HOUR_MINUTES = HOUR_MS // MINUTE_MS


@dataclass(frozen=True)
class Figures:
    """The parts of `Stats` that stand in the ledger, of one moment."""

    at_ms: int
    jobs: list[JobLine]
    revenue: Revenue
    refunds: Owed
    payments: Payments
    last_hour: LastHour


class Books:
    """Reads the ledger for the page. One `read` at a time."""

    def __init__(self, database: Database, network: Network, clock: Clock) -> None:
        self._database = database
        self._network = network
        self._clock = clock
        self._days = Tally(queries.settled_by_day, keys=4)
        self._jobs = Tally(queries.jobs_by_minute, keys=1, span_ms=HOUR_MS)
        settled = partial(queries.settled_by_minute, network.chain_id)
        self._settled = Tally(settled, keys=1, span_ms=HOUR_MS)

    async def read(self) -> Figures:
        """Raises what the database raises."""
        return await self._database.read(self._read)

    def _read(self, connection: Connection) -> Figures:
        now_ms = int(self._clock() * 1000)
        days = self._days.read(connection, now_ms)
        states = {row[0]: int(row[1]) for row in connection.execute(queries.OTHER_STATES)}
        states["settled"] = sum(count for count, _ in days.values())
        count, owed = connection.execute(queries.OWED_SUM).one()
        return Figures(
            at_ms=now_ms,
            jobs=[_job(row) for row in connection.execute(queries.LATEST)],
            revenue=self._revenue(days, now_ms // DAY_MS),
            refunds=Owed(
                total=_sum(count, int(owed or 0)),
                oldest=[self._owed(row) for row in connection.execute(queries.OLDEST_OWED)],
            ),
            payments=Payments(
                states=states, unknown=[_unknown(row) for row in connection.execute(queries.UNKNOWN)]
            ),
            last_hour=_last_hour(
                now_ms, self._jobs.read(connection, now_ms), self._settled.read(connection, now_ms)
            ),
        )

    def _revenue(self, days: Mapping[Key, Sums], today: int) -> Revenue:
        """`days` by chain, day, operation and provider. Money of another chain is no revenue of this one."""
        ours = {key[1:]: sums for key, sums in days.items() if key[0] == self._network.chain_id}
        kinds = sorted({key[1:] for key in ours}, key=lambda kind: tuple(part or "" for part in kind))
        lines = []
        for kind in kinds:
            mine = {key: sums for key, sums in ours.items() if key[1:] == kind}
            lines.append(RevenueLine(operation=kind[0], provider=kind[1], **_spans(mine, today)))
        return Revenue(**_spans(ours, today), lines=lines)

    def _owed(self, row: Row[Any]) -> OwedLine:
        here = row.chain_id == self._network.chain_id
        return OwedLine(
            paymentId=row.payment_id,
            jobId=row.job_id,
            payer=to_checksum_address(row.payer),
            amountAtomic=str(row.amount_atomic),
            amountUsd=atomic_to_usd(row.amount_atomic),
            reason=row.reason,
            network=self._network.name if here else f"eip155:{row.chain_id}",
            operation=row.operation,
            provider=row.provider,
            createdAt=iso(row.created_at / 1000),
        )


def _spans(days: Mapping[Key, Sums], today: int) -> dict[str, Sum]:
    """Sums of what begins with its day: today's, this week's, all."""

    def since(day: int) -> Sum:
        found = [sums for key, sums in days.items() if key[0] >= day]
        return _sum(sum(count for count, _ in found), sum(atomic for _, atomic in found))

    return {"today": since(today), "week": since(today - WEEK_DAYS + 1), "all": since(0)}


def _last_hour(now_ms: int, jobs: Mapping[Key, Sums], settled: Mapping[Key, Sums]) -> LastHour:
    latest = now_ms // MINUTE_MS
    minutes = range(latest - HOUR_MINUTES + 1, latest + 1)
    money = [settled.get((minute,)) for minute in minutes]
    return LastHour(
        at=[minute * 60 for minute in minutes],
        jobs=[jobs.get((minute,), (0,))[0] for minute in minutes],
        revenueUsd=[atomic_to_usd(found[0] if found else 0) for found in money],
        p50Ms=[found[1] if found else None for found in money],
        p95Ms=[found[2] if found else None for found in money],
    )


def _sum(count: int, atomic: int) -> Sum:
    return Sum(count=count, amountAtomic=str(atomic), amountUsd=atomic_to_usd(atomic))


def _job(row: Row[Any]) -> JobLine:
    return JobLine(
        id=row.id,
        operation=row.operation,
        provider=row.provider,
        status=row.status,
        label=row.label,
        error=row.error,
        priceUsd=None if row.amount_atomic is None else atomic_to_usd(row.amount_atomic),
        paymentState=row.state,
        createdAt=iso(row.created_at / 1000),
    )


def _unknown(row: Row[Any]) -> UnknownLine:
    return UnknownLine(
        id=row.id,
        jobId=row.job_id,
        payer=to_checksum_address(row.payer),
        amountUsd=atomic_to_usd(row.amount_atomic),
        reason=row.reason,
        attempts=row.attempts,
        createdAt=iso(row.created_at / 1000),
    )
