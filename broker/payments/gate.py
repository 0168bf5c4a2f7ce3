"""The payment gate: nothing is sold that is not paid, nothing is paid twice (payments.md §3-5).

strict headers → local checks → body → offer → reserve → verify → run → keep → settle → release
"""

import asyncio
import math
import re

from starlette.responses import Response

from broker.caches.tokens import Tokens
from broker.operations import Work
from broker.payments.answers import Answers, pending
from broker.payments.authorization import Payment, read_payment
from broker.payments.checks import PaymentRefused, check_addressed_to_us, check_window
from broker.payments.fulfilment import Ended, Fulfilment
from broker.payments.instructions import is_instructed
from broker.payments.intake import Intake, Taken
from broker.payments.ledger import Ledger
from broker.payments.offers import Offer, OfferBook
from broker.payments.paid_route import Call
from broker.payments.pricing import Pricing
from broker.payments.records import CAME_TO_NOTHING, IN_FLIGHT, LedgerError, NewJob, PaymentRow
from broker.payments.results import Results
from broker.payments.terms import Terms
from broker.payments.watch import Watch
from broker.ratelimits import RateLimits
from shared.clock import Clock
from shared.errors import BadRequest, Conflict, Unavailable
from shared.logs import get_logger, set_job_id

log = get_logger(__name__)

_OFFER_ID = re.compile(r"[0-9a-f-]{36}", re.ASCII)
WAIT_S = 100.0
"""How long a second use of an authorization waits for the first before it is told to come back."""


class PaymentGate:
    """Takes payments on `terms`. `public_base_url` is how clients reach this broker, when configured."""

    def __init__(
        self,
        *,
        terms: Terms,
        pricing: Pricing,
        offers: OfferBook,
        ledger: Ledger,
        fulfilment: Fulfilment,
        results: Results,
        intake: Intake,
        tokens: Tokens,
        limits: RateLimits,
        watch: Watch,
        clock: Clock,
        public_base_url: str | None,
    ) -> None:
        self._answers = Answers(
            terms=terms,
            pricing=pricing,
            ledger=ledger,
            results=results,
            tokens=tokens,
            watch=watch,
            public_base_url=public_base_url,
        )
        self._terms = terms
        self._offers = offers
        self._ledger = ledger
        self._fulfilment = fulfilment
        self._intake = intake
        self._limits = limits
        self._watch = watch
        self._clock = clock
        self._running: set[asyncio.Task[Ended]] = set()

    async def answer(self, call: Call) -> Response:
        """Answer one request to a paid route. Raises `GalaksioError` for what is wrong with it."""
        payment = read_payment(call.scope["headers"])
        if call.upload is None and not call.body and not call.operation.empty_body:
            return await self._answers.discovery(call, payment)
        if payment is None:
            work = await self._intake.look(call)
            await self._check(call, work)
            return await self._answers.challenge(call, work, *call.why)
        if call.upload is not None:
            # Whoever does not pay does not get a stranger's file onto our disk either.
            await self._check_payer(payment)
        async with self._intake.take(call) as taken:
            if call.upload is None:
                await self._check_payer(payment)
            return await self._paid(call, taken, payment)

    async def drain(self) -> None:
        """Wait for the paid work that is under way (at shutdown)."""
        if self._running:
            await asyncio.wait(self._running)

    # -- the flow ------------------------------------------------------------------------------

    async def _check_payer(self, payment: Payment) -> None:
        check_addressed_to_us(payment, self._terms)
        await self._limits.count_payer(payment.authorization.payer)

    async def _check(self, call: Call, work: Work) -> None:
        if call.operation.check is not None:
            await call.operation.check(call.scope["app"].state, work)

    async def _paid(self, call: Call, taken: Taken, payment: Payment) -> Response:
        work = taken.work
        if payment.identifier is not None and (known := await self._known(payment)):
            return await self._again(call, work, known)
        try:
            offer = await self._accepted_offer(call, work, payment)
        except (PaymentRefused, BadRequest) as exc:
            # What was paid before is answered with its outcome, whatever would be wrong with it now.
            if known := await self._known(payment):
                return await self._again(call, work, known)
            if isinstance(exc, BadRequest):
                raise
            return await self._answers.challenge(call, work, exc.message, exc.code)
        await self._check(call, work)
        return await self._take(call, taken, payment, offer)

    async def _accepted_offer(self, call: Call, work: Work, payment: Payment) -> Offer:
        auth = payment.authorization
        echoed = (payment.accepted or {}).get("extra")
        offer_id = echoed.get("quoteId") if isinstance(echoed, dict) else None
        if offer_id is not None and not (isinstance(offer_id, str) and _OFFER_ID.fullmatch(offer_id)):
            raise BadRequest("payment header: extra.quoteId is none of ours", code="invalid_payment")
        offer = await self._offers.payable(call.offer_hash(work), auth.value, offer_id)
        if offer is None:
            raise PaymentRefused(
                "no offer of this amount stands for this request (it expired, or the request changed)",
                "offer_expired",
            )
        if payment.accepted is not None:
            self._terms.check_echo(payment.accepted, offer)
        check_window(auth, self._clock(), work.time_limit_s)
        return offer

    async def _take(self, call: Call, taken: Taken, payment: Payment, offer: Offer) -> Response:
        """Reserve the authorization and carry it to its end."""
        self._watch.check()
        work = taken.work
        requirements = (
            self._terms.v1(offer, self._answers.resource(call), call.operation.description).model_dump(
                by_alias=True
            )
            if payment.version == 1
            else self._terms.v2_fields(offer)
        )
        auth = payment.authorization
        new = NewJob(
            operation=call.operation.name,
            request_hash=call.hash(work),
            offer=offer,
            requester=auth.payer,
            task={} if is_instructed(offer.quote) else await taken.task(offer),
            time_limit_ms=math.ceil(work.time_limit_s * 1000),
            label=call.label,
        )
        claimed = await self._ledger.reserve(auth, payment.version, new, requirements, payment.identifier)
        if claimed is None:
            known = await self._known(payment)
            if known is None:
                raise Unavailable("the payment could not be recorded; nothing was charged")
            return await self._again(call, work, known)
        taken.kept = True
        set_job_id(claimed.payment.job_id)
        # From here on the work goes on whether or not the client stays on the line.
        task = asyncio.create_task(self._fulfilment.begin(claimed))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            ended = await asyncio.shield(task)
        except LedgerError:
            # This broker froze for longer than its lease, and another one carries the payment on.
            row = await self._ledger.payment(claimed.payment.id) or claimed.payment
            return await self._again(call, work, row)
        return await self._answer_for(call, work, ended)

    async def _answer_for(self, call: Call, work: Work, ended: Ended) -> Response:
        row = ended.payment
        if row.state == "settled" and ended.error is None:
            return await self._answers.deliver(call, row, ended.kept)
        if row.state == "settled":
            raise await self._answers.refund_owed(row)
        if row.state == "unknown" or row.state in IN_FLIGHT:
            return pending(row.job_id)
        if row.state == "rejected":
            return await self._answers.withhold(call, work, row)
        if ended.error is not None:
            ended.error.extra.setdefault("jobId", row.job_id)
            raise ended.error
        reason = ended.refusal or "invalid_payment"
        return await self._answers.challenge(call, work, f"the payment was refused: {reason}", reason)

    # -- the same authorization again ----------------------------------------------------------

    async def _known(self, payment: Payment) -> PaymentRow | None:
        """The ledger's row for this authorization or payment-identifier, unless it is free to be used.

        An identifier is free again when its payment came to nothing, so that it can be paid anew.
        """
        auth = payment.authorization
        row = await self._ledger.find(auth)
        if row is not None and row.state != "voided":
            return row
        if payment.identifier is None:
            return None
        row = await self._ledger.find_identified(auth.payer, payment.identifier)
        return None if row is None or row.state in CAME_TO_NOTHING else row

    async def _again(self, call: Call, work: Work, row: PaymentRow) -> Response:
        """Never a second run or settlement: the first one's result, or where to wait for it."""
        if row.request_hash != call.hash(work):
            raise Conflict(
                "this authorization or payment-identifier was already used for another request",
                code="authorization_used",
            )
        row = await self._when_finished(row)
        if row.state == "settled":
            return await self._answers.deliver(call, row)
        if row.state == "rejected":
            return await self._answers.withhold(call, work, row)
        if row.state == "voided":
            raise Unavailable(
                "the first use of this authorization failed; nothing was charged; send it again",
                code="try_again",
                retry_after_s=1,
            )
        return pending(row.job_id)

    async def _when_finished(self, row: PaymentRow) -> PaymentRow:
        deadline = asyncio.get_running_loop().time() + WAIT_S
        pause_s = 0.02
        while row.state in IN_FLIGHT and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.25)
            row = await self._ledger.payment(row.id) or row
        return row
