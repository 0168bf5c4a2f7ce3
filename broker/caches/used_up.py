"""A cache whose operations are used up: the same request, sent with a payment, buys more and is done.

The 402 is that of `POST /cache/{cacheId}/topup`, so that a client which pays 402s by itself goes on working,
and one that does not finds the address where more is sold.
"""

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Scope

from broker.operations import TOP_UP
from broker.operations.cache import TOP_UP_ROUTE
from broker.payments.paid_route import Call, Gate
from shared.errors import GalaksioError

WHY = ("this cache has used up its operations: this buys more", "operations_used_up")
RECEIPTS = ("payment-response", "x-payment-response")


async def after_top_up(scope: Scope, cache_id: str, again: Callable[[], Awaitable[Response]]) -> Response:
    """What `again` answers or raises, with the receipt of the top-up that was paid; else what is to pay."""
    gate: Gate = scope["app"].state.gate
    asked = {**scope, "method": "POST", "path_params": {"cacheId": cache_id}}
    bought = await gate.answer(Call(TOP_UP, TOP_UP_ROUTE, asked, b"", why=WHY))
    if bought.status_code != 200:
        return bought
    receipt = {name: bought.headers[name] for name in RECEIPTS if name in bought.headers}
    try:
        response = await again()
    except GalaksioError as exc:
        exc.headers |= receipt
        raise
    response.headers.update(receipt)
    return response
