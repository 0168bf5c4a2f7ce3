"""How a payment is drafted for an order, and what is written down of its end."""

import httpx
from sqlalchemy.exc import SQLAlchemyError

from executor.upstream.base import Answer, Order, Receipt, Spending
from executor.upstream.choosing import host_of
from executor.upstream.errors import UpstreamError, UpstreamRefused
from executor.upstream.journal import Draft, Journal, Payment, State
from executor.upstream.receipts import outcome_of
from shared.challenges import Wanted
from shared.logs import get_logger

log = get_logger(__name__)


def draft_of(order: Order, wanted: Wanted, payer: str) -> Draft:
    """`payer` is an address, or the name of who pays instead of us."""
    return Draft(
        step=order.step,
        url_host=host_of(order.url),
        method=order.method,
        x402_version=wanted.x402_version,
        chain_id=wanted.chain_id,
        asset=wanted.asset,
        payer=payer,
        pay_to=wanted.pay_to,
        amount_atomic=wanted.price_atomic,
        amount=wanted.amount,
    )


async def answered(
    journal: Journal, spending: Spending, response: httpx.Response, payment: Payment | None
) -> Answer:
    """Write down what came of `payment`, pass the answer on. Raises `UpstreamRefused` for a 402 or 3xx."""
    receipt = None
    if payment is not None:
        outcome = outcome_of(payment, response)
        await _write(journal, payment, outcome.state, outcome.reason, outcome.transaction)
        receipt = Receipt(
            amount_atomic=payment.amount_atomic,
            network=f"eip155:{payment.chain_id}",
            pay_to=payment.pay_to,
            transaction=outcome.transaction or payment.transaction_hash,
            x402_version=payment.x402_version,
        )
    if response.status_code == 402:
        raise UpstreamRefused(f"{spending.provider} was sent its payment and asks for another one.")
    if 300 <= response.status_code < 400:
        raise UpstreamRefused(f"{spending.provider} answered with a redirect, which is not followed.")
    return Answer(response.status_code, dict(response.headers), response.content, receipt)


async def failed(journal: Journal, payment: Payment, error: UpstreamError, *, left: bool) -> None:
    """Write down that no answer came. `left`: the payment may have left this machine."""
    if left:
        await _write(journal, payment, "unknown", error.code, None)
        return
    try:
        await journal.withdraw(payment.id, "it was never sent")
    except (SQLAlchemyError, OSError) as exc:
        _not_written(payment, "unused", exc)


async def _write(
    journal: Journal, payment: Payment, state: State, reason: str | None, transaction: str | None
) -> None:
    try:
        await journal.conclude(payment.id, state, reason=reason, transaction=transaction)
    except (SQLAlchemyError, OSError) as exc:
        _not_written(payment, state, exc)
    if state == "unknown":
        log.warning("upstream_payment_unknown", job_id=payment.job_id, host=payment.url_host, reason=reason)


def _not_written(payment: Payment, state: State, exc: Exception) -> None:
    """The row stays as it was, and counts: that is the safe side."""
    log.error("upstream_journal_unavailable", job_id=payment.job_id, state=state, error=type(exc).__name__)
