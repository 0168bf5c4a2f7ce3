"""The payment gate: nothing is sold that is not paid, nothing is paid twice (payments.md §3-5).

strict headers → body → offer → local checks → reserve → verify → run → keep → settle → release
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response

from broker.payments.authorization import Payment, read_payment
from broker.payments.checks import PaymentRefused, check_addressed_to_us, check_window
from broker.payments.ledger import Ledger, NewJob, PaymentRow
from broker.payments.offers import Offer, OfferBook
from broker.payments.operations import Work
from broker.payments.paid_route import NO_STORE, Call, Grant
from broker.payments.pricing import Pricing
from broker.payments.settlement import Refused, Requirements, Settled, Settlement
from broker.payments.terms import Terms, challenge, receipt_header
from shared.clock import Clock
from shared.errors import BadRequest, Conflict, GalaksioError, Unavailable
from shared.logs import get_logger

log = get_logger(__name__)

WAIT_S = 100.0
"""How long a second use of an authorization waits for the first before it is told to come back."""
IN_FLIGHT = frozenset({"reserved", "running", "ran", "settling"})


@dataclass(frozen=True)
class Attempt:
    """A payment being taken: the request it is for, the offer it accepts, its row in the ledger."""

    call: Call
    work: Work
    payment: Payment
    offer: Offer
    requirements: Requirements
    row: PaymentRow


class PaymentGate:
    """Takes payments on `terms`. `public_base_url` is how clients reach this broker, when configured."""

    def __init__(
        self,
        *,
        terms: Terms,
        pricing: Pricing,
        offers: OfferBook,
        ledger: Ledger,
        settlement: Settlement,
        clock: Clock,
        public_base_url: str | None,
    ) -> None:
        self._terms = terms
        self._pricing = pricing
        self._offers = offers
        self._ledger = ledger
        self._settlement = settlement
        self._clock = clock
        self._public_base_url = public_base_url
        self._running: set[asyncio.Task[Response]] = set()

    async def answer(self, call: Call) -> Response:
        """Answer one request to a paid route. Raises `GalaksioError` for what is wrong with it."""
        payment = read_payment(call.scope["headers"])
        if not call.body:
            return await self._discovery(call, payment)
        work = call.operation.parse(call.body)
        if payment is None:
            return await self._challenge(call, work, "payment required")
        check_addressed_to_us(payment, self._terms)
        known = await self._ledger.find(payment.authorization)
        if known is not None and known.state != "voided":
            return await self._again(call, work, known)
        try:
            offer = await self._accepted_offer(call, work, payment)
        except PaymentRefused as exc:
            return await self._challenge(call, work, exc.message, exc.code)
        return await self._reserve_and_work(call, work, payment, offer)

    async def drain(self) -> None:
        """Wait for the paid work that is under way (at shutdown)."""
        if self._running:
            await asyncio.wait(self._running)

    # -- the flow ------------------------------------------------------------------------------

    async def _accepted_offer(self, call: Call, work: Work, payment: Payment) -> Offer:
        auth = payment.authorization
        echoed = (payment.accepted or {}).get("extra")
        offer_id = echoed.get("quoteId") if isinstance(echoed, dict) else None
        if offer_id is not None and not isinstance(offer_id, str):
            raise BadRequest("payment header: extra.quoteId must be a string", code="invalid_payment")
        offer = await self._offers.payable(call.hash(work), auth.value, offer_id)
        if offer is None:
            raise PaymentRefused(
                "no offer of this amount stands for this request (it expired, or the request changed)",
                "offer_expired",
            )
        if payment.accepted is not None:
            self._terms.check_echo(payment.accepted, offer)
        check_window(auth, self._clock(), work.time_limit_s)
        return offer

    async def _reserve_and_work(self, call: Call, work: Work, payment: Payment, offer: Offer) -> Response:
        requirements: Requirements = (
            self._terms.v1(offer, self._resource(call), call.operation.description)
            if payment.version == 1
            else self._terms.v2(offer)
        )
        auth = payment.authorization
        new = NewJob(call.operation.name, call.hash(work), offer, auth.payer, call.label)
        row = await self._ledger.reserve(auth, payment.version, new, requirements.model_dump(by_alias=True))
        if row is None:
            known = await self._ledger.find(auth)
            if known is None:
                raise Unavailable("the payment could not be recorded; nothing was charged")
            return await self._again(call, work, known)
        # From here on the work goes on whether or not the client stays on the line.
        task = asyncio.create_task(self._work(Attempt(call, work, payment, offer, requirements, row)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _work(self, attempt: Attempt) -> Response:
        row = attempt.row
        try:
            refusal = await self._settlement.verify(attempt.payment, attempt.requirements)
            if refusal is None:
                await self._ledger.start(row)
                response = await attempt.call.perform(Grant(row.job_id, attempt.work, attempt.offer))
        except GalaksioError as exc:
            await self._ledger.void(row, exc.code)
            raise
        except Exception:
            await self._ledger.void(row, "internal_error")
            raise
        if refusal is not None:
            await self._ledger.void(row, refusal)
            text = f"the payment was refused: {refusal}"
            return await self._challenge(attempt.call, attempt.work, text, refusal)
        if response.status_code != 200:
            await self._ledger.void(row, f"the work failed with status {response.status_code}")
            return response
        await self._ledger.keep_result(row, json.loads(bytes(response.body)))
        return await self._settle(attempt)

    async def _settle(self, attempt: Attempt) -> Response:
        row = attempt.row
        await self._ledger.settling(row)
        outcome = await self._settlement.settle(attempt.payment, attempt.requirements)
        if isinstance(outcome, Settled):
            await self._ledger.settled(row, outcome.transaction_hash)
            log.info("payment_settled", job_id=row.job_id, amount_atomic=row.amount_atomic)
            return await self._deliver(row.job_id)
        if isinstance(outcome, Refused):
            await self._ledger.rejected(row, outcome.reason)
            log.warning("settlement_refused", job_id=row.job_id, reason=outcome.reason)
            return await self._withhold(attempt.call, attempt.work, row, outcome.reason)
        await self._ledger.unknown(row, outcome.reason)
        log.error("settlement_unknown", job_id=row.job_id, reason=outcome.reason)
        return _pending(row.job_id)

    # -- the same authorization again ----------------------------------------------------------

    async def _again(self, call: Call, work: Work, row: PaymentRow) -> Response:
        """Never a second run or settlement: the first one's result, or where to wait for it."""
        if row.request_hash != call.hash(work):
            raise Conflict(
                "this authorization was already used for another request: sign a new one",
                code="authorization_used",
            )
        row = await self._when_finished(row)
        if row.state == "settled":
            return await self._deliver(row.job_id)
        if row.state == "rejected":
            return await self._withhold(call, work, row, row.reason or "refused")
        if row.state == "voided":
            raise Unavailable(
                "the first use of this authorization failed; nothing was charged; send it again",
                code="try_again",
                retry_after_s=1,
            )
        return _pending(row.job_id)

    async def _when_finished(self, row: PaymentRow) -> PaymentRow:
        deadline = asyncio.get_running_loop().time() + WAIT_S
        pause_s = 0.02
        while row.state in IN_FLIGHT and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.25)
            row = await self._ledger.payment(row.id) or row
        return row

    # -- answers -------------------------------------------------------------------------------

    async def _deliver(self, job_id: str) -> Response:
        """The kept result with its receipt, the same however often it is asked for."""
        job, row = await self._ledger.job(job_id), await self._ledger.payment_of_job(job_id)
        if job is None or job.response is None or row is None:
            raise GalaksioError("the result of this payment cannot be found", code="result_missing")
        receipt = self._receipt(row, success=True, transaction=row.transaction_hash)
        return JSONResponse(job.response, headers={**receipt, **NO_STORE})

    async def _withhold(self, call: Call, work: Work, row: PaymentRow, reason: str) -> Response:
        """The settlement was refused: no result, and a new payment is the right next step."""
        receipt = self._receipt(row, success=False, transaction="", error_reason=reason)
        return await self._challenge(call, work, f"settlement refused: {reason}", reason, receipt)

    async def _challenge(
        self,
        call: Call,
        work: Work,
        error: str,
        code: str = "payment_required",
        receipt: dict[str, str] | None = None,
    ) -> Response:
        return challenge(
            self._terms,
            await self._pricing.offer(call.operation, work, call.hash(work)),
            call.operation,
            self._resource(call),
            error=error,
            code=code,
            headers=receipt,
        )

    async def _discovery(self, call: Call, payment: Payment | None) -> Response:
        """An empty body: the starting price and the input schema, for crawlers. It cannot be paid."""
        if payment is not None:
            raise BadRequest("the body is empty; send a JSON object", code="body_required")
        return challenge(
            self._terms,
            await self._pricing.starting_offer(call.operation, call.method, call.route),
            call.operation,
            self._resource(call),
            error="payment required; this is the starting price: send your request to learn its own",
            with_schema=True,
        )

    def _receipt(self, row: PaymentRow, **fields: Any) -> dict[str, str]:
        return receipt_header(row.x402_version, self._terms.network, payer=row.payer, **fields)

    def _resource(self, call: Call) -> str:
        """The absolute address of the route. `Host` is not believed: without a setting, our own socket."""
        if self._public_base_url is not None:
            return self._public_base_url + call.route
        host, port = call.scope.get("server") or ("localhost", 80)
        return f"{call.scope['scheme']}://{host}{f':{port}' if port else ''}{call.route}"


class FreeGate:
    """`X402_ENABLED=false`: every call is worked on and nothing is charged."""

    def __init__(self, pricing: Pricing, ledger: Ledger) -> None:
        self._pricing = pricing
        self._ledger = ledger

    async def answer(self, call: Call) -> Response:
        work = call.operation.parse(call.body)
        hash_ = call.hash(work)
        offer = await self._pricing.offer(call.operation, work, hash_)
        new = NewJob(call.operation.name, hash_, offer, "anonymous", call.label)
        job_id = await self._ledger.open_unpaid(new)
        response = await call.perform(Grant(job_id, work, offer))
        if response.status_code == 200:
            await self._ledger.finish_unpaid(job_id, json.loads(bytes(response.body)), None)
        else:
            await self._ledger.finish_unpaid(
                job_id, None, f"the work failed with status {response.status_code}"
            )
        return response

    async def drain(self) -> None:
        """Nothing is owed to anybody."""


def _pending(job_id: str) -> Response:
    """202: work or settlement is not known to be finished. Never a 402, which would be paid again."""
    body = {
        "jobId": job_id,
        "status": "running",
        "message": "the outcome of this payment is not known yet; do not pay again, ask for the job",
    }
    headers = {"Location": f"/status/{job_id}", "Retry-After": "2", **NO_STORE}
    return JSONResponse(body, 202, headers=headers)
