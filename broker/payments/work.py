"""Having the work of a payment done: by the provider that was chosen, or by the next one when that fails."""

import asyncio

from broker.clients import ExecutorClient, Unreachable
from broker.operations import OPERATIONS
from broker.payments.checks import SETTLE_MARGIN_S
from broker.payments.choice import alternatives_to
from broker.payments.instructions import instructed, is_instructed
from broker.payments.ledger import Ledger
from broker.payments.records import JobRow, PaymentRow
from shared.clock import Clock
from shared.errors import GalaksioError
from shared.logs import get_logger
from shared.money import atomic_to_usd

log = get_logger(__name__)

RETRY_PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Between the tries to reach the executor with work that is paid for."""


class Worker:
    """Asks the executor. Money does not move in here; each job says what may be spent on others for it."""

    def __init__(self, ledger: Ledger, executor: ExecutorClient, clock: Clock) -> None:
        self._ledger = ledger
        self._executor = executor
        self._clock = clock

    async def done(self, payment: PaymentRow, job: JobRow) -> tuple[JobRow, dict[str, object]]:
        """The answer for the customer, and the job, which says who has done it.

        Raises `Unreachable` when nobody knows what the executor did, `LedgerError` when the payment is
        another broker's by now, and the `GalaksioError` of the last provider that failed.
        """
        if is_instructed(job.quote):
            return job, instructed(job.id, job.operation, job.quote, payment.amount_atomic)
        paid_ahead = payment.transaction_hash is not None
        while True:
            try:
                return job, await self._do(payment, job)
            except Unreachable:
                raise
            except GalaksioError as error:
                others = alternatives_to(job.quote, job.provider, paid_ahead=paid_ahead)
                if error.status < 500 or not others or not (paid_ahead or self._time_is_left(payment, job)):
                    raise
                log.warning("given_to_the_next", job_id=job.id, failed=job.provider, to=others[0])
                job = await self._ledger.give_to(payment, job, others[0])

    async def _do(self, payment: PaymentRow, job: JobRow) -> dict[str, object]:
        """The answer of the job's provider. Paid ahead, an executor that is starting again is waited for."""
        operation, limit_s = OPERATIONS[job.operation], job.time_limit_ms / 1000
        spend_atomic = _may_spend(payment, job)
        pauses = list(RETRY_PAUSES_S) if payment.transaction_hash is not None else []
        while True:
            try:
                result = await self._executor.execute(
                    job.id,
                    operation.task_type,
                    job.provider,
                    job.task or {},
                    limit_s,
                    max_spend_atomic=spend_atomic,
                )
                break
            except Unreachable:
                if not pauses:
                    raise
            await asyncio.sleep(pauses.pop(0))
        return completed(job, operation.read_result(result), payment.amount_atomic)

    def _time_is_left(self, payment: PaymentRow, job: JobRow) -> bool:
        """Whether the authorization outlives another try at the work."""
        return payment.valid_before > self._clock() + job.time_limit_ms / 1000 + SETTLE_MARGIN_S


def _may_spend(payment: PaymentRow, job: JobRow) -> int:
    """What may be paid to others for the job, in atomic units: nothing before its customer has paid.

    The provider that was chosen may take what it said. One that does its work instead may take as much as
    the customer paid: the fee is given up before a customer is.
    """
    if payment.transaction_hash is None:
        return 0
    if job.provider != job.quote.get("provider"):
        return payment.amount_atomic
    return min(payment.amount_atomic, int(job.quote.get("price_atomic", 0)))


def completed(job: JobRow, result: dict[str, object], amount_atomic: int) -> dict[str, object]:
    """A paid success as the client gets it (api.md, Broker)."""
    return {
        "jobId": job.id,
        "status": "completed",
        "provider": job.provider,
        "price_usd": atomic_to_usd(amount_atomic),
        "result": result,
    }
