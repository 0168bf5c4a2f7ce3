"""Carrying a reserved payment to its end: verify, run, keep, settle. The gate and the reconciler both use it.

Everything that is needed stands in the ledger, so a payment that another broker left behind is carried on
from where it stands: the executor does a job id once however often it is asked, and the chain moves an
authorization once however often it is settled.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from broker.clients import ExecutorClient, Unreachable
from broker.operations import OPERATIONS
from broker.payments.chain import Chain
from broker.payments.checks import SETTLE_MARGIN_S
from broker.payments.ledger import Ledger
from broker.payments.records import JobRow, KeptResult, LedgerError, PaymentRow, Reservation
from broker.payments.results import Results
from broker.payments.settlement import Outcome, Refused, Settled, Settlement, Unknown
from broker.payments.work import Worker
from shared.clock import Clock
from shared.errors import GalaksioError, Unavailable
from shared.logs import get_logger

log = get_logger(__name__)

FIRST_RETRY_MS = 1_000
LONGEST_RETRY_MS = 300_000
EXPIRY_MARGIN_S = 120
"""How long after `validBefore` an unused authorization is believed to stay unused: clocks differ."""
UNDO_AT_ONCE, UNDO_AGAIN_MS = 16, 5_000
PATIENCE_S = 600.0
"""How long such work is tried again before its price is owed back."""
ALARM_AFTER = 10
"""So many fruitless looks at an unknown settlement are worth a person's attention."""


@dataclass(frozen=True)
class Ended:
    """How far a payment came: its row, what was kept, and where it failed: a refusal or our error."""

    payment: PaymentRow
    refusal: str | None = None
    error: GalaksioError | None = None
    kept: KeptResult | None = None


class Fulfilment:
    """Carries payments that this broker holds the lease of."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        settlement: Settlement,
        executor: ExecutorClient,
        results: Results,
        chain: Chain | None,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._settlement = settlement
        self._executor = executor
        self._worker = Worker(ledger, executor, clock)
        self._results = results
        self._chain = chain
        self._clock = clock
        self._active: set[str] = set()

    async def begin(self, reservation: Reservation) -> Ended:
        """Take a fresh reservation as far as it goes now."""
        with self._working_on(reservation.payment):
            return await self._begin(reservation.payment, reservation.job)

    async def resume(self, payment: PaymentRow) -> Ended:
        """Carry on with a payment that was left behind, or whose settlement is unknown."""
        with self._working_on(payment):
            return await self._resume(payment)

    async def renew_leases(self) -> int:
        """Keep the payments that are being carried right now; returns how many those are."""
        return await self._ledger.renew_leases(self._active) if self._active else 0

    @property
    def active(self) -> frozenset[str]:
        """Ids of the payments that are being carried right now."""
        return frozenset(self._active)

    @contextmanager
    def _working_on(self, payment: PaymentRow) -> Iterator[None]:
        self._active.add(payment.id)
        try:
            yield
        finally:
            self._active.discard(payment.id)

    async def _begin(self, payment: PaymentRow, job: JobRow) -> Ended:
        try:
            refusal = await self._settlement.verify(payment)
        except GalaksioError as error:
            return Ended(await self._void(payment, job, error.code), error=error)
        if refusal is not None:
            return Ended(await self._void(payment, job, refusal), refusal=refusal)
        if job.has_result:
            return await self._settle(await self._ledger.skip_to_ran(payment))
        if payment.settle == "before":
            return await self._settle(payment)
        return await self._run(await self._ledger.start(payment), job)

    async def _resume(self, payment: PaymentRow) -> Ended:
        if payment.state == "reserved":
            return Ended(await self._void(payment, await self._job(payment), "broker_stopped"))
        if payment.state == "running":
            return await self._run(payment, await self._job(payment), again=True)
        if payment.state == "ran":
            return await self._settle(payment)
        return await self._find_out(payment)

    # -- the work ------------------------------------------------------------------------------

    async def _run(self, payment: PaymentRow, job: JobRow, *, again: bool = False) -> Ended:
        paid_ahead = payment.transaction_hash is not None
        if again and not paid_ahead and self._too_late(payment):
            return Ended(await self._void(payment, job, "authorization_expired", undo=_leaves(job)))
        try:
            job, done = await self._worker.done(payment, job)
            kept = await self._results.keep(job.id, done)
        except Unreachable as error:
            if paid_ahead and self._patience_left(payment):
                # Nobody knows what the executor did: the payment is taken up again when its lease runs out.
                return Ended(payment)
            return await self._failed(payment, job, error)
        except GalaksioError as error:
            return await self._failed(payment, job, error)
        except LedgerError:
            raise  # another broker carries it on
        except Exception:
            log.exception("work_failed_unexpectedly", job_id=job.id)
            ours = Unavailable("the work could not be done for reasons of ours", code="internal_error")
            return await self._failed(payment, job, ours)
        payment = await self._ledger.keep_result(payment, kept)
        if paid_ahead:
            await self._discard_upload(job)  # somebody else keeps it now, or it has become ours
        ended = Ended(payment) if paid_ahead else await self._ask(payment, tried_before=False)
        return replace(ended, kept=kept)

    async def _failed(self, payment: PaymentRow, job: JobRow, error: GalaksioError) -> Ended:
        """The work came to nothing: what was paid ahead is owed back, else nothing is charged."""
        if payment.transaction_hash is not None:
            payment = await self._ledger.owe_refund(payment, error.code)
            await self._discard_upload(job)
            log.warning("refund_owed", job_id=job.id, amount_atomic=payment.amount_atomic, code=error.code)
            return Ended(payment, error=error)
        return Ended(await self._void(payment, job, error.code, undo=_leaves(job)), error=error)

    async def _void(self, payment: PaymentRow, job: JobRow, reason: str, *, undo: bool = False) -> PaymentRow:
        """Nothing is charged, and what was uploaded for the job does not wait for it any longer."""
        payment = await self._ledger.void(payment, reason, undo=undo)
        await self._discard_upload(job)
        return payment

    async def _discard_upload(self, job: JobRow) -> None:
        upload_id = (job.task or {}).get("upload")
        if upload_id is not None:
            await self._executor.discard(upload_id)

    async def take_back(self) -> int:
        """Have what unpaid jobs left behind removed; returns how many that was."""
        left = await self._ledger.to_undo(UNDO_AT_ONCE)
        done = await asyncio.gather(*map(self._take_back, left))
        return sum(done)

    async def _take_back(self, job: JobRow) -> bool:
        try:
            await self._executor.undo(job.id, OPERATIONS[job.operation].task_type, job.provider)
        except GalaksioError as exc:
            log.warning("not_taken_back_yet", job_id=job.id, reason=exc.message)
            await self._ledger.undone(job.id, again_in_ms=UNDO_AGAIN_MS)
            return False
        await self._ledger.undone(job.id)
        log.info("taken_back", job_id=job.id, operation=job.operation)
        return True

    def _patience_left(self, payment: PaymentRow) -> bool:
        return self._clock() - payment.created_at / 1000 < PATIENCE_S

    def _too_late(self, payment: PaymentRow) -> bool:
        return payment.valid_before < self._clock() + SETTLE_MARGIN_S / 2

    # -- the money -----------------------------------------------------------------------------

    async def _settle(self, payment: PaymentRow) -> Ended:
        tried_before = payment.state in {"settling", "unknown"}
        return await self._ask(await self._ledger.settling(payment), tried_before=tried_before)

    async def _ask(self, payment: PaymentRow, *, tried_before: bool) -> Ended:
        """Have a payment in `settling` settled, and write down how it ended."""
        outcome = await self._settlement.settle(payment)
        if isinstance(outcome, Refused) and tried_before:
            # An earlier try may have moved the money; then "no funds" is no proof that it did not.
            outcome = Unknown(outcome.reason)
        return await self._book(payment, outcome)

    async def _book(self, payment: PaymentRow, outcome: Outcome) -> Ended:
        if isinstance(outcome, Settled):
            payment = await self._ledger.settled(payment, outcome.transaction_hash)
            log.info("payment_settled", job_id=payment.job_id, amount_atomic=payment.amount_atomic)
            if payment.state == "running":
                return await self._run(payment, await self._job(payment))
            return Ended(payment)
        if isinstance(outcome, Refused):
            log.warning("settlement_refused", job_id=payment.job_id, reason=outcome.reason)
            undo = payment.settle == "after" and _leaves(await self._job(payment))
            payment = await self._ledger.rejected(payment, outcome.reason, undo=undo)
            return Ended(payment, refusal=outcome.reason)
        wait_ms = min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** min(payment.attempts, 20))
        say = log.error if payment.attempts >= ALARM_AFTER else log.warning
        say("settlement_unknown", job_id=payment.job_id, reason=outcome.reason, attempts=payment.attempts)
        return Ended(await self._ledger.unknown(payment, outcome.reason, wait_ms))

    async def _find_out(self, payment: PaymentRow) -> Ended:
        """A settlement was tried and nobody knows how it ended: ask the chain, then act on what it says."""
        seen = None
        if self._chain is not None:
            age_s = self._clock() - payment.created_at / 1000
            seen = await self._chain.authorization(payment.payer, payment.nonce, age_s)
        expired = payment.valid_before + EXPIRY_MARGIN_S < self._clock()
        if seen is not None and seen.state == "used" and seen.transaction_hash is not None:
            return await self._book(payment, Settled(seen.transaction_hash))
        if seen is not None and seen.state == "cancelled":
            return await self._book(payment, Refused("authorization_cancelled"))
        if seen is not None and seen.state == "unused" and expired:
            return await self._book(payment, Refused("authorization_expired"))
        if seen is not None and seen.state == "used":
            return await self._book(payment, Unknown("used on the chain, in a transaction not found"))
        if expired:
            return await self._book(payment, Unknown("expired, and the chain does not answer"))
        return await self._settle(payment)

    async def _job(self, payment: PaymentRow) -> JobRow:
        job = await self._ledger.job(payment.job_id)
        if job is None:
            raise GalaksioError("the job of this payment cannot be found", code="job_missing")
        return job


def _leaves(job: JobRow) -> bool:
    """Whether the work leaves something behind when it is done."""
    return OPERATIONS[job.operation].leaves
