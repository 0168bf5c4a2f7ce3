"""The free price routes: the quote service is asked the same, and no more of its answer told than needed."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from broker.clients import QuoteClient
from broker.routes.quotes import MAX_ASK_BYTES, MAX_QUERY_BYTES, OPERATIONS
from tests.broker.shop import Shop, Told, open_shop

PATHS = [f"{root}/quote{rest}" for root in ("", "/v2") for rest in ("", *(f"/{name}" for name in OPERATIONS))]
TABLE = httpx.Response(
    418,
    text="prices",
    headers={"Content-Type": "text/csv", "Vary": "Accept", "Server": "inside", "Set-Cookie": "a=b"},
)


@dataclass
class Market:
    """A broker, and the quote service as it hears it. `answer` is what that says to everything."""

    shop: Shop
    answer: httpx.Response | httpx.HTTPError = TABLE
    heard: list[httpx.Request] = field(default_factory=list)

    def say(self, request: httpx.Request) -> httpx.Response:
        self.heard.append(request)
        if isinstance(self.answer, httpx.HTTPError):
            raise self.answer
        return self.answer

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *headers: tuple[bytes, bytes],
        query: bytes = b"",
    ) -> Told:
        scope = {"method": method, "path": path, "raw_path": path.encode(), "query_string": query}
        return await self.shop.ask(body, *headers, **scope)


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with open_shop(tmp_path, RATE_LIMIT_PER_IP="100000/minute") as shop:
        market = Market(shop)
        transport = httpx.MockTransport(market.say)
        async with httpx.AsyncClient(transport=transport, base_url="http://quote.test") as inside:
            shop.app.state.quotes = QuoteClient(inside)
            yield market


@pytest.mark.parametrize("path", PATHS)
async def test_each_path_is_asked_under_its_own_name_by_query_and_by_body(market: Market, path: str) -> None:
    query = b"operation=run&size=1%20k&size=2&%ff=\xff"
    accept = (b"accept", b"text/csv;q=0.5, text/markdown, \xe9")
    for method, body in (("GET", b""), ("POST", b'{"size": 1}')):
        told = await market.ask(method, path, body, accept, (b"cookie", b"x=y"), query=query)
        assert (told.status, told.body) == (418, b"prices")
        heard = market.heard[-1]
        assert (heard.method, heard.url.path, heard.content) == (method, path, body)
        assert heard.url.params.get_list("size") == ["1 k", "2"]
        assert heard.headers["Accept"] == "text/csv;q=0.5, text/markdown, "
        assert heard.headers["X-Request-ID"].encode() == told.id
        assert "x=y" not in heard.headers.get("cookie", "")
        assert dict(told.headers).keys() == {b"content-type", b"vary", b"content-length", b"x-request-id"}
        assert dict(told.headers)[b"content-type"] == b"text/csv"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/quote/topup", 404),
        ("POST", "/quote/run/", 404),
        ("POST", "/quote/run%2f..", 404),
        ("POST", "/v3/quote", 404),
        ("GET", "/v2/providers", 404),
        ("PUT", "/quote/run", 405),
        ("DELETE", "/quote", 405),
    ],
)
async def test_any_other_path_is_answered_here(market: Market, method: str, path: str, status: int) -> None:
    told = await market.ask(method, path)
    assert (told.status, json.loads(told.body)["success"]) == (status, False)
    assert market.heard == []


async def test_a_path_that_ends_in_a_newline_asks_the_same(market: Market) -> None:
    """The pattern of a route lets it through; it must not be passed on."""
    told = await market.ask("GET", "/quote/run\n")
    assert told.status in {404, 418}
    assert [heard.url.path for heard in market.heard] in ([], ["/quote/run"])


async def test_what_is_too_long_is_not_passed_on(market: Market) -> None:
    assert (await market.ask("POST", "/quote/run", b"#" * (MAX_ASK_BYTES + 1))).status == 413
    assert (await market.ask("GET", "/quote", query=b"x" * (MAX_QUERY_BYTES + 1))).status == 414
    assert market.heard == []
    assert (await market.ask("POST", "/quote/run", b"#" * MAX_ASK_BYTES)).status == 418
    assert (await market.ask("GET", "/quote", query=b"\xff" * MAX_QUERY_BYTES)).status == 418


@pytest.mark.parametrize("path", ["/quote", "/providers"])
async def test_without_the_quote_service_it_is_a_503_that_names_no_address(market: Market, path: str) -> None:
    market.answer = httpx.ConnectError("http://quote.test:8081 refused")
    told = await market.ask("GET", path)
    assert (told.status, json.loads(told.body)["code"]) == (503, "quote_unavailable")
    assert b"quote.test" not in told.body


ROW = {"name": "local", "kind": "compute", "status": "unavailable"}


async def test_the_providers_are_told_without_anybodys_address(market: Market) -> None:
    reason = "http://executor.internal:8082/execute did not answer (see postgres://u:p@db/x)"
    refusal = {"code": "executor_down", "reason": reason, "retry_after_s": 5}
    row = {**ROW, "reason": reason, "refusal": refusal, "base_url": "http://x", "secret": "s"}
    market.answer = httpx.Response(200, json={"providers": [row], "count": 1, "redis": "redis://x"})
    told = await market.ask("GET", "/providers")
    assert told.status == 200
    (shown,) = json.loads(told.body)["providers"]
    assert shown["reason"] == "(address) did not answer (see (address)"
    assert (shown["name"], shown["status"], shown["refusal"]["retry_after_s"]) == ("local", "unavailable", 5)
    for hidden in (b"internal", b"://", b"u:p", b"secret", b"base_url", b"redis"):
        assert hidden not in told.body


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500, text="Traceback"),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={"providers": [{}], "count": 1}),
        httpx.Response(200, json=[]),
        httpx.Response(302, headers={"Location": "http://x"}),
    ],
)
async def test_providers_that_are_not_understood_are_a_503(market: Market, answer: httpx.Response) -> None:
    market.answer = answer
    answer.request = httpx.Request("GET", "http://quote.test/providers")
    told = await market.ask("GET", "/providers")
    assert (told.status, json.loads(told.body)["code"]) == (503, "quote_unavailable")
