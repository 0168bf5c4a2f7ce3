"""From a request to its result: ask, learn the price, sign once, send that until the outcome is known."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from galaksio.connection import Connection, Lost, Reply, text_of
from galaksio.errors import (
    BadAnswer,
    Error,
    OutcomeUnknown,
    PaymentRefused,
    RefundOwed,
    RequestRefused,
    Said,
    TermsRefused,
    Unreachable,
)

if TYPE_CHECKING:
    from galaksio.wallet import Authorization, Wallet

PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Before a payment that was sent is sent again, the same to the byte."""
LONGEST_PAUSE_S = 30.0
"""What is waited at most because a broker says so."""
PENDING_S = 60.0
"""How long the job of a payment is looked at before the payment is sent again."""
PENDING_PAUSE_S = 2.0
AGAIN = frozenset({202, 502, 503, 504})
"""Answers to a payment that are not its outcome."""
ENDED = frozenset({"completed", "instructions_provided", "failed", "cancelled", "unpaid"})
REFUND_OWED = "refund_owed"

Send = Callable[[dict[str, str]], Awaitable[Reply]]
"""Sends one request, the same each time but for the headers that it is given. Raises `Lost`."""


@dataclass(frozen=True)
class Terms:
    """What one call may cost (10^-6 USD; None: the wallet's cap), and the payment's id if it is chosen."""

    cap_atomic: int | None = None
    payment_id: str | None = None


@dataclass(frozen=True)
class Bought:
    """A success: the answer, and what was signed for it; None for what was free of charge."""

    reply: Reply
    paid: "Authorization | None"


class Payer:
    """Buys at the broker of `connection` with `wallet`; without one only what is free."""

    def __init__(self, connection: Connection, wallet: "Wallet | None") -> None:
        self._connection = connection
        self._wallet = wallet

    async def buy(self, send: Send, terms: Terms) -> Bought:
        """Send a request, pay the 402 that comes back, and return the answer. Raises `Error`."""
        reply = await self._price(send)
        if reply.status != 402:
            return Bought(succeeded(reply), None)
        if self._wallet is None:
            raise TermsRefused("This has a price: give the client a private_key to pay with.", reply.said())
        # In a thread: signing takes its time, and whoever is asked about the price may take more.
        signed = await asyncio.to_thread(
            self._wallet.authorize, reply.headers, reply.content, terms.cap_atomic, terms.payment_id
        )
        reply = await self._until_known(send, signed)
        if reply.status == 402:
            raise PaymentRefused(
                f"The broker did not take the payment: {reply.reason()}.", reply.said(), signed.payment_id
            )
        return Bought(succeeded(reply), signed)

    async def _price(self, send: Send) -> Reply:
        try:
            return await send({})
        except Lost as exc:
            raise Unreachable(self._connection.base_url, str(exc)) from None

    async def _until_known(self, send: Send, signed: "Authorization") -> Reply:
        """What became of a payment. It is never replaced by another one: only sent again."""
        last: Reply | Lost = Lost("nothing was sent")
        for pause_s in (*PAUSES_S, None):
            try:
                last = await send(signed.headers)
            except Lost as exc:
                last = exc
            else:
                if last.status not in AGAIN or last.said().code == REFUND_OWED:
                    return last
                if last.status == 202:
                    await self._until_ended(last)
            if pause_s is not None:
                await asyncio.sleep(_pause_s(last, pause_s))
        if isinstance(last, Reply) and last.status == 503 and last.said().code:
            return last  # our broker's own word that it came to nothing
        raise _unknown(self._connection.base_url, last, signed)

    async def _until_ended(self, pending: Reply) -> None:
        """Look at the job of a payment under way until it ended or the time did; no payment is sent."""
        path = self._connection.own_path(pending.headers.get("location", ""))
        if not path:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(PENDING_S):
                while True:
                    await asyncio.sleep(PENDING_PAUSE_S)
                    if await self._has_ended(path):
                        return

    async def _has_ended(self, path: str) -> bool:
        try:
            return (await self._connection.send("GET", path)).fields().get("status") in ENDED
        except Lost:
            return False


def succeeded(reply: Reply) -> Reply:
    """The answer, when it is a 200. Raises `Error` for any other."""
    if reply.status == 200:
        return reply
    said, fields = reply.said(), reply.fields()
    if said.code == REFUND_OWED:
        refund = fields.get("refund")
        refund = refund if isinstance(refund, dict) else {}
        reason, state = reply.reason(), text_of(refund.get("state"))
        raise RefundOwed(f"{reason[:1].upper()}{reason[1:]}.", said, _usd(refund.get("amountUsd")), state)
    if 300 <= reply.status < 400:
        raise RequestRefused("a redirect, which is not followed: use the address it leads to", said)
    if reply.status == 402:
        raise RequestRefused(reply.reason(), said)
    if reply.status < 300:
        raise BadAnswer(f"The broker answered {reply.status}, which is no outcome.", said)
    raise RequestRefused(reply.reason(), said)


def _pause_s(last: Reply | Lost, pause_s: float) -> float:
    after_s = last.said().retry_after_s if isinstance(last, Reply) else None
    return max(pause_s, min(after_s or 0, LONGEST_PAUSE_S))


def _unknown(url: str, last: Reply | Lost, signed: "Authorization") -> Error:
    if isinstance(last, Lost):
        message = f"The connection to {url} broke off while it was paid ({last})"
        said = Said()
    else:
        message = f"The payment's outcome is still not known ({last.status}: {last.reason()})"
        said = last.said()
    return OutcomeUnknown(f"{message}: do not pay again blindly.", said, signed.payment_id)


def _usd(value: Any) -> Decimal | None:
    try:
        return Decimal(value) if isinstance(value, str) and len(value) < 40 else None
    except InvalidOperation:
        return None
