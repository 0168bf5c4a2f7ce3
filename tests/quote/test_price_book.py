"""The embedded providers' prices, and that nothing is sold which the executor cannot do."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from quote.asks import CacheAsk, RunAsk, StoreAsk
from quote.capabilities import Capabilities
from quote.main import create_app
from quote.providers.base import Context, QuoteProvider, find_providers
from quote.settings import QuoteSettings
from shared.settings import load_settings

GB = 10**9
LOCAL = {
    "name": "local",
    "kind": "compute",
    "status": "available",
    "languages": [{"name": "python", "version": "3.13"}],
}


class Executor:
    """Answers `GET /providers` as told, and counts."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0
        self.now = 0.0

    def capabilities(self) -> Capabilities:
        transport = httpx.MockTransport(self._respond)
        client = httpx.AsyncClient(transport=transport, base_url="http://executor.test")
        return Capabilities(client, lambda: self.now)

    def _respond(self, _: httpx.Request) -> httpx.Response:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return httpx.Response(200, json=self.answer)


def providers(executor: Executor, **settings: str) -> dict[str, QuoteProvider]:
    context = Context(load_settings(QuoteSettings, settings), executor.capabilities())
    return {f"{provider.kind}/{provider.name}": provider for provider in find_providers(context)}


def able() -> Executor:
    return Executor({"providers": [LOCAL]})


def test_providers_are_found_by_their_place() -> None:
    assert set(providers(able())) == {"compute/local", "storage/local", "cache/redis"}


@pytest.mark.parametrize(
    ("timeout_s", "atomic"), [(60, 200 + 20 * 30), (1, 200 + 10), (0.001, 200 + 1), (0.15, 200 + 2)]
)
async def test_a_run_costs_a_base_and_memory_times_time_rounded_up(timeout_s: float, atomic: int) -> None:
    ask = RunAsk.model_validate({"timeout": timeout_s})
    assert (await providers(able())["compute/local"].price(ask)).atomic == atomic


@pytest.mark.parametrize(
    ("fields", "atomic"),
    [
        ({"fileSize": GB, "ttl": 86400}, 100 + 1000),
        ({"fileSize": 1, "ttl": 1}, 100 + 1),
        ({"fileSize": 0, "ttl": 1}, 100),
        ({"fileSize": GB, "permanent": True}, 100 + 2_000_000),
    ],
)
async def test_storing_costs_by_size_and_time(fields: dict[str, Any], atomic: int) -> None:
    ask = StoreAsk.model_validate(fields)
    assert (await providers(able())["storage/local"].price(ask)).atomic == atomic


async def test_the_price_book_is_a_setting() -> None:
    found = providers(able(), PRICE_CACHE_ATOMIC="123", PRICE_RUN_BASE_ATOMIC="1000")
    assert (await found["cache/redis"].price(CacheAsk())).atomic == 123
    assert (await found["compute/local"].price(RunAsk.model_validate({"timeout": 1}))).atomic == 1010


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"providers": []}, "does not do this work"),
        ({"providers": [{**LOCAL, "status": "unavailable", "reason": "no bwrap"}]}, "no bwrap"),
        ({"providers": [{**LOCAL, "sellable": False, "reason": "SANDBOX=off"}]}, "SANDBOX=off"),
        ({"providers": [{**LOCAL, "languages": []}]}, "no python runtime"),
        (httpx.ConnectError("gone"), "does not answer"),
        ({"unexpected": 1}, "does not answer"),
        ([], "does not answer"),
    ],
)
async def test_what_the_executor_cannot_do_is_shown_but_not_sold(answer: Any, reason: str) -> None:
    price = await providers(Executor(answer))["compute/local"].price(RunAsk())
    assert price.unavailable is not None
    assert reason in price.unavailable


async def test_the_executor_is_asked_once_for_many_and_again_when_the_answer_is_old() -> None:
    import asyncio

    executor = able()
    local = providers(executor)["compute/local"]
    await asyncio.gather(*(local.price(RunAsk()) for _ in range(100)))
    assert executor.asked == 1
    executor.now += 6
    await local.price(RunAsk())
    assert executor.asked == 2


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """The whole service, with an executor that is not there."""
    app = create_app(load_settings(QuoteSettings, {"EXECUTOR_SERVICE_URL": "http://127.0.0.1:9"}))
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://t") as client,
    ):
        yield client


async def test_every_route_answers_with_prices(http: httpx.AsyncClient) -> None:
    answers = {
        "run": await http.post("/quote/run", json={"codeSize": 10, "language": "python"}),
        "store": await http.post("/quote/store", json={"fileSize": 5_000_000, "permanent": False}),
        "cache": await http.post("/quote/cache", json={"region": "us-east-1"}),
        "get": await http.get("/quote", params={"operation": "execute", "size": 1024}),
    }
    for name, answer in answers.items():
        assert answer.status_code == 200, name
        body = answer.json()
        assert body["count"] == 1
        assert body["best"] is None
        assert ("file_size_mb" in body) is (name == "store")
        quote = body["quotes"][0]
        assert quote.keys() >= {"provider", "price_usd", "price_atomic", "currency", "network", "valid_until"}
        assert quote["executable"] is False
    assert answers["store"].json()["file_size_mb"] == 5.0


async def test_best_says_why_nobody_is(http: httpx.AsyncClient) -> None:
    answer = (await http.post("/quote/best", json={"operation": "run"})).json()
    assert answer["best"] is None
    assert answer["unavailable"] == {"local": "the executor does not answer"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/quote?operation=fly", None),
        ("POST", "/quote/best", {}),
        ("POST", "/quote/best", {"operation": "fly"}),
        ("POST", "/quote/run", {"language": "cobol"}),
        ("POST", "/quote/run", {"provider": "nobody"}),
    ],
)
async def test_wrong_asks_are_400(http: httpx.AsyncClient, method: str, path: str, body: Any) -> None:
    answer = await http.request(method, path, json=body)
    assert (answer.status_code, answer.json()["success"]) == (400, False)


async def test_health_and_providers(http: httpx.AsyncClient) -> None:
    assert (await http.get("/health")).json()["status"] == "ok"
    ready = await http.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    rows = (await http.get("/providers")).json()["providers"]
    assert {row["status"] for row in rows} == {"unavailable"}
