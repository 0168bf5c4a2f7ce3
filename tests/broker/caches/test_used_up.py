"""A used-up cache, for which more was just paid."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from broker.caches.used_up import after_top_up
from broker.payments.paid_route import Call
from shared.caches.errors import WrongType

RECEIPT = {"PAYMENT-RESPONSE": "a receipt"}


class Till:
    """A gate that has been paid."""

    async def answer(self, _: Call) -> Response:
        return JSONResponse({"result": {}}, headers={**RECEIPT, "X-Other": "of the top-up"})


async def topped_up(again: Callable[[], Awaitable[Response]]) -> Response:
    scope: dict[str, Any] = {"app": SimpleNamespace(state=SimpleNamespace(gate=Till())), "headers": []}
    return await after_top_up(scope, "rd1", again)


async def done() -> Response:
    return JSONResponse({"value": 1})


async def refused() -> Response:
    raise WrongType


async def test_what_is_done_after_it_carries_the_receipt() -> None:
    answer = await topped_up(done)
    assert answer.headers["PAYMENT-RESPONSE"] == "a receipt"
    assert "X-Other" not in answer.headers


async def test_the_receipt_comes_also_when_the_request_itself_fails() -> None:
    with pytest.raises(WrongType) as caught:
        await topped_up(refused)
    assert caught.value.headers["payment-response"] == "a receipt"
