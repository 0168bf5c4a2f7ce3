"""The step 402 → pay → the same request again, as httpx has it for authentication schemes."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

import httpx

from executor.upstream.journal import Payment
from executor.upstream.wallet import payment_header

Pay = Callable[[httpx.Response], Awaitable[Payment]]
"""Makes the payment for a 402, or raises."""


class PaymentAuth(httpx.Auth):
    """Pays one order, once. `payment` is what was made for it, now or in an earlier call.

    With a payment the request goes out with it at once, each time the same.
    """

    def __init__(self, pay: Pay, payment: Payment | None) -> None:
        self._pay = pay
        self.payment = payment
        self.paid_sends = 0

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        if self.payment is None:
            response = yield request
            if response.status_code != 402:
                return
            await response.aread()
            self.payment = await self._pay(response)
        request.headers[payment_header(self.payment.x402_version)] = self.payment.payload or ""
        self.paid_sends += 1
        yield request

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        raise RuntimeError("payments are journaled, which needs an httpx.AsyncClient")
