"""`Upstream` through HTTPayer, which pays 402s for an account with it (providers.md, Paying upstream).

What a call may cost is read from the provider's own 402 first, and written down before HTTPayer is asked. It
has no key for idempotency: a step is handed to it once, and never again.
"""

import asyncio
from typing import Any

import httpx
from sqlalchemy.exc import SQLAlchemyError

from executor.upstream.base import Answer, Means, Order, Spending
from executor.upstream.choosing import choose, host_of, understand
from executor.upstream.concluding import answered, draft_of, failed
from executor.upstream.errors import (
    UpstreamError,
    UpstreamLost,
    UpstreamOff,
    UpstreamRefused,
    UpstreamUnreachable,
)
from executor.upstream.journal import Journal, Payment
from executor.upstream.purse import Purse
from executor.upstream.retries import send_again
from executor.upstream.wire import Wire
from shared.challenges import Challenge
from shared.logs import get_logger
from shared.money import atomic_to_usd
from shared.networks import Network

log = get_logger(__name__)

NAME = "httpayer"
MAX_DESCRIPTION = 200
UNDESCRIBED = "Payment needed to complete request"


class HTTPayer:
    """`router_url` has no slash at its end; customers pay on `network`.

    It is given JSON only: files cannot be sent through it.
    """

    def __init__(
        self, router_url: str, api_key: str, network: Network, journal: Journal, purse: Purse
    ) -> None:
        self._network = network
        self._proxy_url = f"{router_url}/proxy"
        self._api_key = api_key
        self._journal = journal
        self._purse = purse
        self._wire = Wire()

    async def open(self) -> None:
        await self._purse.open()
        log.info("[httpayer] Pays other providers", router=host_of(self._proxy_url))

    async def close(self) -> None:
        await self._wire.close()
        await self._purse.close()

    def means(self) -> Means:
        return Means(
            reason=None, networks=None, spendable_atomic=self._purse.spendable_atomic, sends_files=False
        )

    def spent(self) -> dict[str, int]:
        return dict(self._purse.spent_on)

    async def send(self, order: Order, spending: Spending) -> Answer:
        """As `Upstream.send`. A step that was handed to HTTPayer before is not handed to it again."""
        if order.file is not None:
            raise UpstreamOff("HTTPayer takes JSON only: set EXECUTOR_PRIVATE_KEY to pay for files.")
        try:
            async with asyncio.timeout(order.timeout_s):
                return await self._send(order, spending)
        except TimeoutError:
            raise UpstreamLost(f"{spending.provider} did not answer within {order.timeout_s:g} s.") from None
        except SQLAlchemyError as exc:
            log.error("upstream_journal_unavailable", job_id=spending.job_id, error=type(exc).__name__)
            raise UpstreamOff("The journal of payments does not answer, so nothing is paid.") from None

    async def _send(self, order: Order, spending: Spending) -> Answer:
        if await self._journal.take(spending, order.step) is not None:
            raise _ordered_before(spending)
        request = await self._wire.build(order)
        asked = await send_again(
            lambda: self._wire.send(request), repeatable=order.repeatable, paid_sends=lambda: 0
        )
        if asked.status_code != 402:
            return await answered(self._journal, spending, asked, None)
        payment = await self._reserve(order, spending, asked)
        response = await self._hand_over(order, payment)
        if response.status_code == 402:
            await self._journal.conclude(payment.id, "unknown", reason="HTTPayer answered 402")
            raise _payment_required(response)
        return await answered(self._journal, spending, response, payment)

    async def _reserve(self, order: Order, spending: Spending, asked: httpx.Response) -> Payment:
        name = spending.provider
        challenge = understand(name, asked.status_code, dict(asked.headers), asked.content)
        wanted = choose(name, challenge, self._network, None, anywhere=True)
        spending.before_paying()
        payment = await self._journal.reserve(draft_of(order, wanted, NAME), spending, lambda: None)
        if payment.takes > 1:
            raise _ordered_before(spending)
        self._purse.spent(name, payment.amount_atomic)
        usd = atomic_to_usd(payment.amount_atomic)
        log.info("upstream_payment", job_id=spending.job_id, host=payment.url_host, amount_usd=usd)
        return payment

    async def _hand_over(self, order: Order, payment: Payment) -> httpx.Response:
        body: dict[str, Any] = {
            "method": order.method,
            "api_url": order.url,
            "headers": {"Content-Type": "application/json", **order.headers},
        }
        if order.json is not None:
            body["data"] = order.json
        handed = Order(
            "POST",
            self._proxy_url,
            json=body,
            headers={"x-api-key": self._api_key},
            timeout_s=order.timeout_s,
            max_bytes=order.max_bytes,
        )
        try:
            return await self._wire.send(await self._wire.build(handed))
        except UpstreamError as error:
            left = not isinstance(error, UpstreamUnreachable)
            await failed(self._journal, payment, error, left=left)
            raise


def _ordered_before(spending: Spending) -> UpstreamError:
    return UpstreamLost(f"{spending.provider} was paid for this before; what it did is not known.")


def _payment_required(response: httpx.Response) -> UpstreamError:
    """HTTPayer's own 402: it could not or would not pay. Its text and log lines are as the seed has them."""
    log.warning("[httpayer] Received 402 Payment Required")
    challenge = understand("HTTPayer", 402, dict(response.headers), response.content)
    wanted = challenge.accepts[0]
    asset, network = wanted.asset, wanted.entry["network"]
    log.warning(f"[httpayer] Payment required: {wanted.amount} to {wanted.pay_to}")
    log.warning(f"[httpayer] Network: {network}")
    log.warning(f"[httpayer] Asset: {asset}")
    return UpstreamRefused(
        f"Payment required: {_description(challenge)}. Amount: {wanted.amount} on {network}. "
        f"Pay to: {wanted.pay_to}",
        code="payment_required",
        extra={
            "payment": {
                "amount": str(wanted.amount),
                "network": network,
                "payTo": wanted.pay_to,
                "asset": asset,
            }
        },
    )


def _description(challenge: Challenge) -> str:
    """v1 has it in the entry, v2 beside it; a text of theirs is shown only if it is plain and short."""
    resource = challenge.document.get("resource")
    told = challenge.accepts[0].entry.get("description")
    if told is None and isinstance(resource, dict):
        told = resource.get("description")
    plain = isinstance(told, str) and told.isascii() and told.isprintable() and len(told) <= MAX_DESCRIPTION
    return told.strip(" .") if plain and isinstance(told, str) and told.strip(" .") else UNDESCRIBED
