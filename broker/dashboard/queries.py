"""The page's questions to the ledger. Each is bounded by a range of time, a limit or an index."""

from typing import Any

from sqlalchemy import Select, bindparam, func, literal_column, select

from broker.payments.records import CAME_TO_NOTHING, EXPOSED
from broker.tables import OWED, SETTLED, jobs, payments, refunds

Rows = Select[*tuple[Any, ...]]

DAY_MS = 86_400_000
LATEST_JOBS = 50
OLDEST_REFUNDS = 100
OLDEST_UNKNOWN = 20
ERROR_LENGTH = 300

_MINUTE_OF_JOB = jobs.c.created_at // literal_column("60000")
_MINUTE_OF_PAYMENT = payments.c.updated_at // literal_column("60000")
_DAY_OF_PAYMENT = payments.c.updated_at // literal_column(str(DAY_MS))

_latest = (
    select(
        jobs.c.id,
        jobs.c.operation,
        jobs.c.provider,
        jobs.c.status,
        jobs.c.label,
        func.substr(jobs.c.error, 1, ERROR_LENGTH).label("error"),
        jobs.c.created_at,
    )
    .order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
    .limit(LATEST_JOBS)
    .subquery()
)
_attempt = payments.alias()
_its_payment = (
    select(_attempt.c.id)
    .where(_attempt.c.job_id == _latest.c.id)
    .order_by((_attempt.c.state == "settled").desc(), _attempt.c.created_at.desc())
    .limit(1)
    .scalar_subquery()
)
LATEST: Rows = (
    select(_latest, payments.c.amount_atomic, payments.c.state)
    .select_from(_latest.outerjoin(payments, payments.c.id == _its_payment))
    .order_by(_latest.c.created_at.desc(), _latest.c.id.desc())
)
"""The latest jobs, each with the payment that its fate hangs on."""

OWED_SUM = select(func.count(), func.sum(refunds.c.amount_atomic)).select_from(refunds).where(OWED)

OLDEST_OWED: Rows = (
    select(
        refunds.c.payment_id,
        refunds.c.job_id,
        refunds.c.payer,
        refunds.c.amount_atomic,
        func.substr(refunds.c.reason, 1, ERROR_LENGTH).label("reason"),
        refunds.c.created_at,
        payments.c.chain_id,
        jobs.c.operation,
        jobs.c.provider,
    )
    .select_from(
        refunds.outerjoin(payments, payments.c.id == refunds.c.payment_id).outerjoin(
            jobs, jobs.c.id == refunds.c.job_id
        )
    )
    .where(OWED)
    .order_by(refunds.c.created_at)
    .limit(OLDEST_REFUNDS)
)

OTHER_STATES = (
    select(payments.c.state, func.count())
    .where(payments.c.state.in_([*EXPOSED, *CAME_TO_NOTHING]))
    .group_by(payments.c.state)
)
"""How many payments are in each state but `settled`, of which a tally knows."""

UNKNOWN: Rows = (
    select(
        payments.c.id,
        payments.c.job_id,
        payments.c.payer,
        payments.c.amount_atomic,
        func.substr(payments.c.reason, 1, ERROR_LENGTH).label("reason"),
        payments.c.attempts,
        payments.c.created_at,
    )
    .where(payments.c.state == "unknown")
    .order_by(payments.c.lease_until)
    .limit(OLDEST_UNKNOWN)
)

_FROM: Any = bindparam("from_ms")
_UNTIL: Any = bindparam("until_ms")
_IN_RANGE = (SETTLED, payments.c.updated_at >= _FROM, payments.c.updated_at < _UNTIL)

_SETTLED_BY_DAY = (
    select(
        payments.c.chain_id,
        _DAY_OF_PAYMENT,
        jobs.c.operation,
        jobs.c.provider,
        func.count(),
        func.sum(payments.c.amount_atomic),
    )
    .select_from(payments.outerjoin(jobs, jobs.c.id == payments.c.job_id))
    .where(*_IN_RANGE)
    .group_by(payments.c.chain_id, _DAY_OF_PAYMENT, jobs.c.operation, jobs.c.provider)
)

_ASKED_BY_MINUTE = (
    select(_MINUTE_OF_JOB, func.count())
    .where(jobs.c.created_at >= _FROM, jobs.c.created_at < _UNTIL)
    .group_by(_MINUTE_OF_JOB)
)


def settled_by_day(from_ms: int, until_ms: int) -> Select[Any]:
    """Chain id, day (Unix days), operation, provider; how many payments, their atomic units."""
    return _SETTLED_BY_DAY.params(from_ms=from_ms, until_ms=until_ms)


def jobs_by_minute(from_ms: int, until_ms: int) -> Select[Any]:
    """Unix minute; how many jobs began."""
    return _ASKED_BY_MINUTE.params(from_ms=from_ms, until_ms=until_ms)


def _settled_by_minute() -> Select[Any]:
    minute = _MINUTE_OF_PAYMENT.label("minute")
    took_ms = payments.c.updated_at - payments.c.created_at
    ranked = (
        select(
            minute,
            payments.c.amount_atomic,
            took_ms.label("took_ms"),
            func.row_number().over(partition_by=minute, order_by=took_ms).label("place"),
            func.count().over(partition_by=minute).label("total"),
        )
        .where(*_IN_RANGE, payments.c.chain_id == bindparam("chain_id"))
        .subquery()
    )

    def percentile(hundredths: int) -> Any:
        """By nearest rank: the shortest time that so many of a hundred calls did not exceed."""
        rank = (ranked.c.total * hundredths + 99) // literal_column("100")
        return func.min(ranked.c.took_ms).filter(ranked.c.place >= rank)

    return select(ranked.c.minute, func.sum(ranked.c.amount_atomic), percentile(50), percentile(95)).group_by(
        ranked.c.minute
    )


_SETTLED_BY_MINUTE = _settled_by_minute()


def settled_by_minute(chain_id: int, from_ms: int, until_ms: int) -> Select[Any]:
    """Unix minute; atomic units, and ms from reservation to settlement: median and 95th percentile."""
    return _SETTLED_BY_MINUTE.params(chain_id=chain_id, from_ms=from_ms, until_ms=until_ms)
