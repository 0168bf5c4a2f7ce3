"""Whatever a seller answers that is no price: a row with a reason; never free, best, or an exception."""

import json
from typing import Any

import httpx
import pytest
import respx

from quote.fanout import QuoteEngine
from quote.providers.base import Price
from shared.challenges import MAX_TIMEOUT_S
from shared.quotes import Kind, QuoteList
from tests.quote.remote.sellers import PROBED, ask_of, sellers
from tests.support.challenges import USDC, v1, v1_body, v1_entry, v2, v2_entry, v2_headers

HTML = b"<!doctype html><title>402 Payment Required</title><script>alert(1)</script>"
BASE = "eip155:8453"


def page(status: int, body: bytes = HTML, **headers: str) -> httpx.Response:
    return httpx.Response(status, content=body, headers={"Content-Type": "text/html", **headers})


ANSWERS: dict[str, httpx.Response | Exception] = {
    "a 404": page(404),
    "a 500": page(500),
    "a 503 of JSON": httpx.Response(503, json={"x402Version": 1, "accepts": [v1_entry("1")]}),
    "a 200 without a 402": httpx.Response(200, json={"id": "cache-1", "success": True}),
    "a 200 that looks like a 402": httpx.Response(200, content=v1_body(v1_entry("1"))),
    "a 200 with the header": httpx.Response(200, headers=v2_headers(v2_entry("1"))),
    "a 204": httpx.Response(204),
    "a redirect": page(302, Location="https://elsewhere.test/"),
    "a redirect to itself": page(307, Location="/create"),
    "a redirect with a price": httpx.Response(308, content=v1_body(v1_entry("1")), headers={"Location": "/"}),
    "an HTML page with 402": page(402),
    "nothing with 402": page(402, b""),
    "no accepts": v1(),
    "no accepts in v2": v2(),
    "accepts null": httpx.Response(402, json={"x402Version": 1, "accepts": None}),
    "a list": httpx.Response(402, json=[v1_entry("1")]),
    "a text": httpx.Response(402, json="pay me"),
    "no version": httpx.Response(402, json={"accepts": [v1_entry("1")]}),
    "version 3": httpx.Response(402, json={"x402Version": 3, "accepts": [v1_entry("1")]}),
    "10,000 lists": httpx.Response(402, content=b"[" * 10_000 + b"]" * 10_000),
    "10,000 lists in accepts": httpx.Response(
        402, content=b'{"x402Version":1,"accepts":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    ),
    "10,000 lists in the header": httpx.Response(402, headers={"PAYMENT-REQUIRED": "W1tb" * 3_000}),
    "an open list without end": httpx.Response(402, content=b"[" * 60_000),
    "a wrong header over a right body": httpx.Response(
        402, content=v1_body(v1_entry("1")), headers={"PAYMENT-REQUIRED": "%%%"}
    ),
    "a header of v2 with a zero over a right body": httpx.Response(
        402, content=v1_body(v1_entry("1")), headers=v2_headers(v2_entry("0"))
    ),
    "latin-1": httpx.Response(402, content='{"x402Version": 1, "accepts": ["é"]}'.encode("latin-1")),
    "half a surrogate": httpx.Response(
        402, content=b'{"x402Version": 1, "accepts": [{"scheme": "\\ud800"}]}'
    ),
    "too much": httpx.Response(402, content=v1_body(v1_entry("1")) + b" " * 70_000),
    "packed": httpx.Response(402, content=v1_body(v1_entry("1")), headers={"Content-Encoding": "x-unknown"}),
    "no such host": httpx.ConnectError("[Errno -2] Name or service not known"),
    "a TLS error": httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"),
    "a reset": httpx.ReadError("connection reset by peer"),
    "half an answer": httpx.RemoteProtocolError("peer closed connection without sending complete body"),
    "a time-out": httpx.ReadTimeout("too slow"),
    "a proxy that refuses": httpx.ProxyError("407"),
    "an entry that is null": v2(None),
    "an entry that is a list": v2([v2_entry("1")]),
    **{
        f"an amount of {amount!r}": v2(v2_entry() | {"amount": amount})
        for amount in (
            *(0, "0", "-1", "1e3", "1.5", "", " 1", "+1", "0x1", "١٢٣", "1_000", "007"),
            *(None, 1000, 0.1, True, [], {}, str(2**300), str(2**256 - 1), "NaN", "free"),
        )
    },
    **{
        f"{field} null": v2(v2_entry() | {field: None})
        for field in ("scheme", "network", "amount", "asset", "payTo", "maxTimeoutSeconds")
    },
    **{
        f"{field} of {value!r}"[:60]: v1(v1_entry() | {field: value})
        for field, value in (
            ("scheme", "upto"),
            ("scheme", "batch-settlement"),
            ("asset", "0x" + "12" * 20),
            ("asset", USDC["eip155:84532"]),
            ("asset", "USDC"),
            ("network", "solana"),
            ("network", "eip155:31337"),
            ("payTo", "0x" + "0" * 40),
            ("payTo", "me"),
            ("maxTimeoutSeconds", MAX_TIMEOUT_S + 1),
            ("maxTimeoutSeconds", 10**18),
            ("maxTimeoutSeconds", 0),
            ("maxTimeoutSeconds", -60),
            ("maxAmountRequired", "0"),
        )
    },
}
PLAIN: dict[str, Any] = {
    "a 404": page(404),
    "a 500": page(500),
    "a 402": v1(v1_entry("1")),
    "a redirect": page(301, Location="/"),
    "HTML": page(200),
    "nothing": page(200, b""),
    "null": httpx.Response(200, json=None),
    "a list": httpx.Response(200, json=[1]),
    "10,000 lists": httpx.Response(200, content=b"[" * 10_000 + b"]" * 10_000),
    "an open list without end": httpx.Response(200, content=b"[" * 60_000),
    "figures with 500": httpx.Response(500, json={"akash": 1, "arweave": {"usd": 5}}),
    "a number with 503": httpx.Response(503, json=1000),
    "a reset": httpx.ReadError("connection reset by peer"),
    "too much": httpx.Response(200, content=b"1" * 70_000),
}
FIGURES = (0, -1, True, None, "5", "1e3", [], {}, 10**30)
FIGURES_AS_TEXT = ("NaN", "Infinity", "-0.0", "1e999", "1e-999", "1e99999999999999999999", "0." + "1" * 60)


class Fine:
    """Another seller, whose price is a price."""

    name = "fine"
    disabled: str | None = None

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    async def prices(self, ask: Any) -> list[Price]:
        return [Price(10**12)]


async def compared(name: str, **fields: Any) -> QuoteList:
    """What the engine makes of it, beside a seller that takes a million dollars."""
    async with sellers() as found:
        seller = found[name]
        engine = QuoteEngine(
            [seller, Fine(seller.kind)],
            network="base",
            deadline_s=20.0,
            valid_s=300,
            clock=lambda: 1_800_000_000.0,
        )
        return await engine.compare(
            seller.kind, ask_of(seller, **fields).model_copy(update={"provider": None})
        )


def refused(found: QuoteList, name: str) -> str:
    """The reason of the one that was declined; the other one is best."""
    assert found.best is not None
    assert [found.best.provider, *(quote.provider for quote in found.quotes)] == ["fine", "fine"]
    (row,) = found.declined
    assert row.provider == name
    assert row.reason != "the provider failed"
    for theirs in ("alert", "self-signed", "peer", "Name or service", "<", "Errno"):
        assert theirs not in row.reason
    return row.reason


@pytest.mark.parametrize("name", PROBED)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_what_is_no_price_is_declined_with_a_reason(
    name: str, answer: httpx.Response | Exception, respx_mock: respx.MockRouter
) -> None:
    method, url = PROBED[name]
    route = respx_mock.request(method, url)
    route.mock(side_effect=answer) if isinstance(answer, Exception) else route.mock(return_value=answer)
    assert len(refused(await compared(name, permanent=name == "galaksio_storage"), name)) > 10
    assert route.call_count == 1


@pytest.mark.parametrize("answer", PLAIN.values(), ids=PLAIN)
async def test_akash_without_figures_is_declined(answer: Any, respx_mock: respx.MockRouter) -> None:
    route = respx_mock.post("https://akash.test/pricing")
    route.mock(side_effect=answer) if isinstance(answer, Exception) else route.mock(return_value=answer)
    refused(await compared("akash"), "akash")


@pytest.mark.parametrize(
    "figure", [*map(json.dumps, FIGURES), *FIGURES_AS_TEXT], ids=lambda text: str(text)[:20]
)
async def test_figures_that_are_no_price_of_a_machine_are_declined(
    figure: str, respx_mock: respx.MockRouter
) -> None:
    content = '{"akash": %s, "aws": %s}' % (figure, figure)  # noqa: UP031 - braces of JSON
    respx_mock.post("https://akash.test/pricing").mock(return_value=httpx.Response(200, text=content))
    refused(await compared("akash"), "akash")


WINSTON = ("", "0", "-5", "1.5", "1e9", "0x10", "free", "null", "1 2", "१२", "9" * 25, "9" * 5000, "{}")


@pytest.mark.parametrize(
    "answer",
    [*PLAIN.values(), *(httpx.Response(200, text=text) for text in WINSTON)],
    ids=[*PLAIN, *(f"winston {text[:10]!r}" for text in WINSTON)],
)
async def test_arweave_without_a_price_in_winston_is_declined(
    answer: Any, respx_mock: respx.MockRouter
) -> None:
    route = respx_mock.get(url__startswith="https://arweave.test/price/")
    route.mock(side_effect=answer) if isinstance(answer, Exception) else route.mock(return_value=answer)
    respx_mock.get(url__startswith="https://coingecko.test").respond(json={"arweave": {"usd": 5}})
    respx_mock.post("https://storage.test/upload").mock(return_value=v1(v1_entry("1")))
    refused(await compared("arweave", permanent=True), "arweave")


@pytest.mark.parametrize(
    "answer",
    [
        *PLAIN.values(),
        *(httpx.Response(200, text='{"arweave": {"usd": %s}}' % text) for text in map(json.dumps, FIGURES)),  # noqa: UP031
        *(httpx.Response(200, text='{"arweave": {"usd": %s}}' % text) for text in FIGURES_AS_TEXT),  # noqa: UP031
        httpx.Response(200, json={}),
        httpx.Response(200, json={"arweave": 5}),
        httpx.Response(200, json={"bitcoin": {"usd": 5}}),
    ],
)
async def test_arweave_without_a_rate_is_declined(answer: Any, respx_mock: respx.MockRouter) -> None:
    route = respx_mock.get(url__startswith="https://coingecko.test")
    route.mock(side_effect=answer) if isinstance(answer, Exception) else route.mock(return_value=answer)
    respx_mock.get(url__startswith="https://arweave.test/price/").respond(text="1000000")
    respx_mock.post("https://storage.test/upload").mock(return_value=v1(v1_entry("1")))
    assert "nobody says what an AR costs" in refused(await compared("arweave", permanent=True), "arweave")


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_arweave_without_somebody_who_does_the_work_is_shown_and_never_best(
    answer: httpx.Response | Exception, respx_mock: respx.MockRouter
) -> None:
    route = respx_mock.post("https://storage.test/upload")
    route.mock(side_effect=answer) if isinstance(answer, Exception) else route.mock(return_value=answer)
    respx_mock.get(url__startswith="https://arweave.test/price/").respond(text="1000000000")
    respx_mock.get(url__startswith="https://coingecko.test").respond(json={"arweave": {"usd": 5}})
    found = await compared("arweave", permanent=True)
    assert found.best is not None
    assert found.best.provider == "fine"
    (quote,) = (quote for quote in found.quotes if quote.provider == "arweave")
    assert quote.refusal is not None
    assert (quote.executable, quote.refusal.code) == (False, "seller_unavailable")
