"""What a paid route answers: the result with its receipt, a 402, a refund that is owed, or where to wait."""

from typing import Any

from starlette.responses import JSONResponse, Response

from broker.addresses import public_address
from broker.caches.tokens import Tokens
from broker.operations import Shown, Work, told
from broker.payments.authorization import Payment
from broker.payments.ledger import Ledger
from broker.payments.paid_route import PAYMENT_REQUIRED, Call
from broker.payments.pricing import Pricing
from broker.payments.records import KeptResult, PaymentRow
from broker.payments.repeats import may_be_told_again
from broker.payments.results import Results
from broker.payments.retention import EXPIRED
from broker.payments.terms import Terms, challenge, receipt_header
from broker.payments.watch import Watch
from shared.errors import BadRequest, GalaksioError
from shared.logs import get_logger
from shared.money import atomic_to_usd

log = get_logger(__name__)

NO_STORE = {"Cache-Control": "no-store"}


class Answers:
    """Says how a call stands, by the ledger; it moves nothing. A 402 is told while `watch` lets us sell."""

    def __init__(
        self,
        *,
        terms: Terms,
        pricing: Pricing,
        ledger: Ledger,
        results: Results,
        tokens: Tokens,
        watch: Watch,
        public_base_url: str | None,
    ) -> None:
        self._terms = terms
        self._pricing = pricing
        self._ledger = ledger
        self._results = results
        self._tokens = tokens
        self._watch = watch
        self._public_base_url = public_base_url

    async def deliver(self, call: Call, row: PaymentRow, kept: KeptResult | None = None) -> Response:
        """The kept result with its receipt, the same however often it is asked for."""
        if kept is not None and kept.text is not None:
            body = kept.text.encode()
        else:
            body = await self._kept(row)
        body = told(call.operation, body, Shown(self._address(call), self._tokens))
        receipt = self._receipt(row, success=True, transaction=row.transaction_hash)
        return Response(body, media_type="application/json", headers={**receipt, **NO_STORE})

    async def _kept(self, row: PaymentRow) -> bytes:
        """The result of a payment that is settled. Raises for one that is gone, or that never was."""
        job = await self._ledger.job(row.job_id)
        body = None if job is None else await self._results.read(job)
        if body is not None:
            return body
        if job is None or job.expired_at_ms is None:
            raise await self.refund_owed(row)
        raise GalaksioError(
            f"{EXPIRED}: nothing was charged anew; to have the work done again, send the request unpaid",
            status=410,
            code="result_expired",
            extra={"jobId": row.job_id},
            headers=self._receipt(row, success=True, transaction=row.transaction_hash),
        )

    async def refund_owed(self, row: PaymentRow) -> GalaksioError:
        """Paid ahead, and the work failed: what is owed back is said and can be looked up."""
        refund = await self._ledger.refund_of(row.id)
        if refund is None:
            log.error("result_missing", payment_id=row.id, job_id=row.job_id)
            return GalaksioError("the result of this payment cannot be found", code="result_missing")
        amount = atomic_to_usd(refund["amount_atomic"])
        return GalaksioError(
            f"the provider failed after it was paid; ${amount} is owed back to {row.payer}",
            status=502,
            code="refund_owed",
            extra={"jobId": row.job_id, "refund": {"state": refund["state"], "amountUsd": amount}},
            headers=self._receipt(row, success=True, transaction=row.transaction_hash),
        )

    async def withhold(self, call: Call, work: Work, row: PaymentRow) -> Response:
        """The settlement was refused: no result, and a new payment is the right next step."""
        reason = row.reason or "refused"
        receipt = self._receipt(row, success=False, transaction="", error_reason=reason)
        return await self.challenge(call, work, f"settlement refused: {reason}", reason, receipt)

    async def challenge(
        self,
        call: Call,
        work: Work,
        error: str,
        code: str = PAYMENT_REQUIRED,
        receipt: dict[str, str] | None = None,
    ) -> Response:
        self._watch.check()
        offer = await self._pricing.offer(
            call.operation, work, call.offer_hash(work), work_is_done=receipt is not None
        )
        if code == PAYMENT_REQUIRED:
            may_be_told_again(call.scope, offer.told_until_ms)
        return challenge(
            self._terms,
            offer,
            call.operation,
            self.resource(call),
            error=error,
            code=code,
            headers=receipt,
            html=call.wants_html,
        )

    async def discovery(self, call: Call, payment: Payment | None) -> Response:
        """An empty body: the starting price and the input schema, for crawlers. It cannot be paid."""
        if payment is not None:
            raise BadRequest("the body is empty; send a JSON object", code="body_required")
        self._watch.check()
        return challenge(
            self._terms,
            await self._pricing.starting_offer(call.operation, call.method, call.route),
            call.operation,
            self.resource(call),
            error="payment required; this is the starting price: send your request to learn its own",
            with_schema=True,
            html=call.wants_html,
        )

    def _receipt(self, row: PaymentRow, **fields: Any) -> dict[str, str]:
        return receipt_header(row.x402_version, self._terms.network, payer=row.payer, **fields)

    def resource(self, call: Call) -> str:
        """The absolute address of what is sold."""
        return self._address(call) + call.path

    def _address(self, call: Call) -> str:
        return public_address(call.scope, self._public_base_url)


def pending(job_id: str) -> Response:
    """202: work or settlement is not known to be finished. Never a 402, which would be paid again."""
    body = {
        "jobId": job_id,
        "status": "running",
        "message": "the outcome of this payment is not known yet; do not pay again, ask for the job",
    }
    headers = {"Location": f"/status/{job_id}", "Retry-After": "2", **NO_STORE}
    return JSONResponse(body, 202, headers=headers)
