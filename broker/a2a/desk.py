"""Where messages are answered: a task is priced, kept, and done once it is paid, all of it by the gate.

There is no second way to the money: a message becomes the call that its route would make of it. What is kept
here besides is which authorization a task is being paid with, so that an agent which signs anew because it
lost patience does not buy the same task twice.
"""

import json

from starlette.datastructures import State
from starlette.responses import Response
from starlette.types import Scope
from x402.http.constants import PAYMENT_REQUIRED_HEADER
from x402.http.utils import decode_payment_required_header
from x402.schemas import PaymentRequired

from broker.a2a.answers import said
from broker.a2a.asked import read_task
from broker.a2a.envelope import TASK_REQUEST, Message
from broker.a2a.payment import payment_header
from broker.a2a.tasks import Task, Tasks
from broker.addresses import public_address
from broker.payments.authorization import read_payment
from broker.payments.ledger import Ledger
from broker.payments.offers import Offer, OfferBook
from broker.payments.paid_route import Gate
from broker.payments.records import CAME_TO_NOTHING
from broker.ratelimits import RateLimits
from shared.errors import Conflict, GalaksioError, Unavailable, error_response

CLAIM_MS = 60_000
"""How long a payment may be looked at before it stands in the ledger; after it, a broker died over it."""


class Desk:
    """Answers messages with the gate of `state`. `public_base_url` is how clients reach this broker."""

    def __init__(
        self, state: State, tasks: Tasks, ledger: Ledger, offers: OfferBook, public_base_url: str | None
    ) -> None:
        self._state = state
        self.tasks = tasks
        self._ledger = ledger
        self._offers = offers
        self._public_base_url = public_base_url

    async def answer(self, message: Message, scope: Scope) -> Response:
        """The answer to a good envelope; whatever is wrong with what it says is a `task_failed`."""
        if message.type == TASK_REQUEST:
            return await self._requested(message, scope)
        return await self._submitted(message, scope)

    async def sweep(self) -> int:
        """Delete the tasks whose time is over; returns how many."""
        return await self.tasks.sweep()

    @property
    def _gate(self) -> Gate:
        gate: Gate = self._state.gate
        return gate

    @property
    def _limits(self) -> RateLimits:
        limits: RateLimits = self._state.limits
        return limits

    # -- task_request --------------------------------------------------------------------------

    async def _requested(self, message: Message, scope: Scope) -> Response:
        try:
            asked = read_task(message.payload or {})
            outcome = await self._gate.answer(asked.call(scope, message.label, []))
            if outcome.status_code != 402:  # nothing is charged here, so it is done
                return self._said(outcome, json.loads(bytes(outcome.body))["jobId"], scope, None)
            asker = self._limits.client_of(scope)
            task = await self.tasks.keep(asked, message.label, await self._offer_of(outcome), asker)
        except GalaksioError as error:
            return self._said(error_response(error), None, scope, None)
        return self._said(outcome, task.id, scope, task.expires_at_ms)

    async def _offer_of(self, challenge: Response) -> Offer:
        """The offer that a 402 tells."""
        required = decode_payment_required_header(challenge.headers[PAYMENT_REQUIRED_HEADER])
        offer = None
        if isinstance(required, PaymentRequired):
            told = required.accepts[0]
            offer = await self._offers.payable(
                told.extra["requestHash"], int(told.amount), told.extra["quoteId"]
            )
        if offer is None:
            raise Unavailable("the offer expired while it was made; ask again", retry_after_s=1)
        return offer

    # -- payment_submitted ---------------------------------------------------------------------

    async def _submitted(self, message: Message, scope: Scope) -> Response:
        given, named = message.payment, message.job_id
        job_id: str | None = None
        expires_at_ms: int | None = None
        try:
            header = payment_header(given)
            task = await self.tasks.find(named)
            if task is None:
                raise _not_found()
            job_id = task.id
            outcome = await self._paid(task, message.label or task.label, header, scope)
            if outcome.status_code == 402:
                offer = await self._offer_of(outcome)
                await self.tasks.renew(task, offer)
                expires_at_ms = offer.expires_at_ms
        except GalaksioError as error:
            outcome = error_response(error)
        return self._said(outcome, job_id, scope, expires_at_ms)

    async def _paid(
        self, task: Task, label: str | None, header: tuple[bytes, bytes], scope: Scope
    ) -> Response:
        """What the gate answers to this payment; when it comes to nothing, another one may be tried."""
        payer, nonce = await self._authorization(header)
        await self._claim(task, payer, nonce)
        outcome = None
        try:
            outcome = await self._gate.answer(task.asked.call(scope, label, [header]))
            return outcome
        finally:
            if outcome is None or outcome.status_code == 402:
                await self.tasks.release(task, payer, nonce)

    async def _authorization(self, header: tuple[bytes, bytes]) -> tuple[str, str]:
        """The payer and the nonce that count: under a payment-identifier those of its first payment."""
        payment = read_payment([header])
        if payment is None:
            raise TypeError("a payment was made into a header that is none")
        auth = payment.authorization
        if payment.identifier is not None:
            first = await self._ledger.find_identified(auth.payer, payment.identifier)
            if first is not None and first.state not in CAME_TO_NOTHING:
                return first.payer, first.nonce
        return auth.payer, auth.nonce

    async def _claim(self, task: Task, payer: str, nonce: str) -> None:
        """This authorization is the one that pays for the task. Raises `Conflict` while another one does."""
        if task.job_id is not None and _holds(task, payer, nonce):
            return
        held = await self.tasks.claim(task, payer, nonce)
        if _is_abandoned(held, self.tasks.now_ms() - CLAIM_MS) and not _holds(held, payer, nonce):
            held = await self.tasks.claim(task, payer, nonce, instead_of=held.claim)
        if _holds(held, payer, nonce):
            return
        if held.job_id is not None:
            raise Conflict(
                "this task was paid for with another authorization: ask for its status; to have it done once "
                "more send a new task_request",
                code="task_already_paid",
            )
        raise Conflict(
            "another payment for this task is being looked at; nothing was charged for this one",
            code="task_being_paid",
            retry_after_s=2,
        )

    def _said(
        self, outcome: Response, job_id: str | None, scope: Scope, expires_at_ms: int | None
    ) -> Response:
        address = public_address(scope, self._public_base_url)
        return said(
            outcome,
            job_id=job_id,
            status_url=None if job_id is None else f"{address}/status/{job_id}",
            expires_at_ms=expires_at_ms,
        )


def _holds(task: Task, payer: str, nonce: str) -> bool:
    return task.claim is not None and task.claim.is_of(payer, nonce)


def _is_abandoned(task: Task, before_ms: int) -> bool:
    return task.job_id is None and task.claim is not None and task.claim.at_ms < before_ms


def _not_found() -> GalaksioError:
    return GalaksioError(
        "there is no task with this id, or its time is over: send a new task_request",
        status=404,
        code="not-found",
        extra={"error": "not-found"},
    )
