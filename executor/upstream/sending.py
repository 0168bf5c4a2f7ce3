"""One order on its way, with the payment that goes along."""

import httpx

from executor.upstream.base import Order
from executor.upstream.errors import UpstreamUnreachable
from executor.upstream.payment_auth import PaymentAuth
from executor.upstream.retries import send_again
from executor.upstream.wire import Wire


class Sending:
    """`payment_left` says whether the payment may have left this machine, now or in an earlier call."""

    def __init__(self, wire: Wire, order: Order, auth: PaymentAuth) -> None:
        self._wire = wire
        self._order = order
        self._auth = auth
        self.payment_left = auth.payment is not None

    async def run(self) -> httpx.Response:
        """The answer to the last request that was sent. Raises `UpstreamError`."""
        request = await self._wire.build(self._order)
        return await send_again(
            lambda: self._once(request),
            repeatable=self._order.repeatable,
            paid_sends=lambda: self._auth.paid_sends,
        )

    async def _once(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._wire.send(request, self._auth)
        except UpstreamUnreachable:
            raise
        except BaseException:
            self._note()
            raise
        self._note()
        return response

    def _note(self) -> None:
        self.payment_left = self.payment_left or self._auth.paid_sends > 0
