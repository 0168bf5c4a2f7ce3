"""Paying through HTTPayer: what it is asked, and what is made of each of its answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from executor.upstream.base import FilePart, Order
from executor.upstream.errors import (
    UpstreamLost,
    UpstreamOff,
    UpstreamOverBudget,
    UpstreamRefused,
    UpstreamResting,
    UpstreamUnreachable,
)
from executor.upstream.httpayer import HTTPayer
from executor.upstream.opening import choose_upstream
from shared.clock import system_clock
from shared.networks import network_named
from tests.executor.upstream.paying import refusing, rows, settings_of, spending

ROUTER = "https://router.example"
SHOP_URL = "https://api.shop.example/create"
PAY_TO = "0x00000000000000000000000000000000000a11ce"
NETWORK = network_named("base")
CHALLENGE: dict[str, Any] = {
    "x402Version": 1,
    "error": "payment required",
    "accepts": [
        {
            "scheme": "exact",
            "network": "base",
            "maxAmountRequired": "10000",
            "resource": SHOP_URL,
            "description": "One cache",
            "mimeType": "application/json",
            "payTo": PAY_TO,
            "maxTimeoutSeconds": 60,
            "asset": NETWORK.asset,
        }
    ],
}


@pytest.fixture
async def payer(tmp_path: Path) -> AsyncIterator[HTTPayer]:
    settings = settings_of(
        tmp_path, HTTPAYER_API_KEY="sesame", HTTPAYER_ROUTER_URL=f"{ROUTER}/", X402_NETWORK="base"
    )
    made = choose_upstream(settings, system_clock)
    assert isinstance(made, HTTPayer)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def shop(respx_mock: respx.MockRouter) -> respx.Route:
    return respx_mock.post(SHOP_URL).respond(402, json=CHALLENGE)


@pytest.fixture
def proxy(respx_mock: respx.MockRouter, shop: respx.Route) -> respx.Route:
    return respx_mock.post(f"{ROUTER}/proxy").respond(200, json={"id": "c1"})


ORDER = Order("POST", SHOP_URL, json={"region": "eu"}, headers={"X-Region": "eu"})


async def states(home: Path) -> list[Any]:
    return [row["state"] for row in await rows(home)]


async def test_the_price_is_read_first_and_the_order_handed_over_once(
    payer: HTTPayer, tmp_path: Path, shop: respx.Route, proxy: respx.Route
) -> None:
    answer = await payer.send(ORDER, spending(limit=10_000))
    assert (answer.status, answer.json()) == (200, {"id": "c1"})
    assert answer.receipt is not None
    assert (answer.receipt.amount_atomic, answer.receipt.network) == (10_000, NETWORK.caip2)
    handed = proxy.calls.last.request
    assert handed.headers["x-api-key"] == "sesame"
    assert json.loads(handed.content) == {
        "method": "POST",
        "api_url": SHOP_URL,
        "headers": {"Content-Type": "application/json", "X-Region": "eu"},
        "data": {"region": "eu"},
    }
    assert "x-api-key" not in shop.calls.last.request.headers
    (row,) = await rows(tmp_path)
    assert (row["state"], row["payer"], row["amount_atomic"], row["nonce"]) == (
        "paid",
        "httpayer",
        10_000,
        None,
    )
    with pytest.raises(UpstreamLost, match="paid for this before"):
        await payer.send(ORDER, spending(limit=10_000))
    assert (shop.call_count, proxy.call_count) == (1, 1)
    assert payer.means().spendable_atomic == 1_000_000


async def test_the_same_step_twice_at_once_is_handed_over_once(
    payer: HTTPayer, tmp_path: Path, proxy: respx.Route
) -> None:
    orders = [payer.send(ORDER, spending()) for _ in range(5)]
    outcomes = await asyncio.gather(*orders, return_exceptions=True)
    assert sum(isinstance(outcome, UpstreamLost) for outcome in outcomes) == 4
    assert (proxy.call_count, await states(tmp_path)) == (1, ["paid"])


async def test_what_costs_nothing_is_not_handed_over(
    payer: HTTPayer, shop: respx.Route, proxy: respx.Route
) -> None:
    shop.respond(200, json={"free": True})
    answer = await payer.send(ORDER, spending())
    assert (answer.json(), answer.receipt, proxy.call_count) == ({"free": True}, None, 0)


async def test_over_a_limit_nothing_is_handed_over(
    payer: HTTPayer, tmp_path: Path, shop: respx.Route, proxy: respx.Route
) -> None:
    with pytest.raises(UpstreamOverBudget, match=r"\$0\.01"):
        await payer.send(ORDER, spending(limit=9_999))
    assert (proxy.call_count, await states(tmp_path)) == (0, [])


async def test_its_own_402_is_told_with_the_price_and_in_four_lines(
    payer: HTTPayer,
    tmp_path: Path,
    proxy: respx.Route,
    capsys: pytest.CaptureFixture[str],
) -> None:
    proxy.respond(402, json=CHALLENGE)
    with pytest.raises(UpstreamRefused) as refused:
        await payer.send(ORDER, spending())
    assert refused.value.message == (f"Payment required: One cache. Amount: 10000 on base. Pay to: {PAY_TO}")
    assert (refused.value.status, refused.value.code) == (502, "payment_required")
    assert refused.value.body()["payment"] == {
        "amount": "10000",
        "network": "base",
        "payTo": PAY_TO,
        "asset": NETWORK.asset,
    }
    said = "".join(capsys.readouterr())
    for line in (
        "[httpayer] Received 402 Payment Required",
        f"[httpayer] Payment required: 10000 to {PAY_TO}",
        "[httpayer] Network: base",
        f"[httpayer] Asset: {NETWORK.asset}",
    ):
        assert line in said
    assert "sesame" not in said
    assert await states(tmp_path) == ["unknown"]


@pytest.mark.parametrize("told", ["<b>words</b>\n", "x" * 500, "", 7, None])
async def test_a_description_that_is_no_plain_text_is_left_out(
    payer: HTTPayer, proxy: respx.Route, told: Any
) -> None:
    (wanted,) = CHALLENGE["accepts"]
    proxy.respond(402, json={**CHALLENGE, "accepts": [{**wanted, "description": told}]})
    with pytest.raises(UpstreamRefused, match=r"^Payment required: Payment needed to complete request\. A"):
        await payer.send(ORDER, spending())


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (httpx.Response(500, text="<html>"), "unknown"),
        (httpx.Response(401, json={"error": "bad key"}), "unknown"),
        (httpx.Response(201, text="not json"), "paid"),
    ],
)
async def test_any_other_answer_is_passed_on_and_counts(
    payer: HTTPayer, tmp_path: Path, proxy: respx.Route, answer: httpx.Response, state: str
) -> None:
    proxy.mock(return_value=answer)
    passed = await payer.send(ORDER, spending())
    assert (passed.status, passed.receipt is None) == (answer.status_code, False)
    assert (proxy.call_count, await states(tmp_path)) == (1, [state])


@pytest.mark.parametrize(
    ("answer", "error", "state"),
    [
        (httpx.Response(302, headers={"Location": "https://a.example"}), UpstreamRefused, "unknown"),
        (httpx.Response(402, text="<html>"), UpstreamRefused, "unknown"),
        (httpx.Response(402, json={"x402Version": 1, "accepts": []}), UpstreamRefused, "unknown"),
        (httpx.Response(200, content=b"x" * 2**21), UpstreamRefused, "unknown"),
        (httpx.ReadError("gone"), UpstreamLost, "unknown"),
        (httpx.ReadTimeout("slow"), UpstreamLost, "unknown"),
        (httpx.ConnectError("nobody"), UpstreamUnreachable, "unused"),
    ],
)
async def test_a_router_that_fails_is_not_asked_again_and_counts_unless_it_was_never_reached(
    payer: HTTPayer, tmp_path: Path, proxy: respx.Route, *, answer: Any, error: Any, state: str
) -> None:
    proxy.mock(side_effect=[answer])
    with pytest.raises(error):
        await payer.send(ORDER, spending())
    assert (proxy.call_count, await states(tmp_path)) == (1, [state])


async def test_a_file_is_refused_before_anything_is_sent(payer: HTTPayer, tmp_path: Path) -> None:
    order = Order("POST", SHOP_URL, file=FilePart("file", tmp_path / "x", "x", "text/plain"))
    with pytest.raises(UpstreamOff, match="JSON only"):
        await payer.send(order, spending())


async def test_where_paying_is_refused_nothing_is_handed_over(
    payer: HTTPayer, tmp_path: Path, proxy: respx.Route
) -> None:
    with pytest.raises(UpstreamResting):
        await payer.send(ORDER, spending(before_paying=refusing))
    assert (proxy.call_count, await states(tmp_path)) == (0, [])
