"""The embedded providers' prices, and that nothing is sold which the executor cannot do."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.settings import BrokerSettings
from quote.asks import Ask, CacheAsk, RunAsk, StoreAsk
from quote.capabilities import FRESH_S, Capabilities, Needs
from quote.main import create_app
from quote.market import Market
from quote.outside import Outside
from quote.providers.base import Context, Decline, Price, QuoteProvider, find_providers
from quote.settings import QuoteSettings
from shared.http import MB
from shared.money import usd_to_atomic
from shared.remote import REMOTE_PROVIDERS
from shared.settings import load_settings

GB = 10**9
HOSTING = Path(__file__).parents[2] / "docs" / "hosting.md"
LOCAL = {
    "name": "local",
    "kind": "compute",
    "status": "available",
    "languages": [{"name": "python", "version": "3.13"}],
    "accepting": True,
    "retryAfterS": 1,
}
OLD = {name: value for name, value in LOCAL.items() if name not in {"accepting", "retryAfterS"}}
FULL = {**LOCAL, "accepting": False, "retryAfterS": 7}


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
    context = Context(
        load_settings(QuoteSettings, {"REMOTE_PROVIDERS": "off", **settings}),
        executor.capabilities(),
        Market(),
        Outside(1.0),
    )
    return {f"{provider.kind}/{provider.name}": provider for provider in find_providers(context)}


async def one_price(seller: QuoteProvider, ask: Ask) -> Price:
    (price,) = await seller.prices(ask)
    return price


def able() -> Executor:
    return Executor({"providers": [LOCAL]})


def test_providers_are_found_by_their_place() -> None:
    found = providers(able())
    assert {place for place, provider in found.items() if provider.disabled is None} == {
        "compute/local",
        "storage/local",
        "cache/memcached",
        "cache/redis",
    }
    assert {place.partition("/")[2] for place, provider in found.items() if provider.disabled} == set(
        REMOTE_PROVIDERS
    )


@pytest.mark.parametrize(
    ("timeout_s", "atomic"), [(60, 200 + 20 * 30), (1, 200 + 10), (0.001, 200 + 1), (0.15, 200 + 2)]
)
async def test_a_run_costs_a_base_and_memory_times_time_rounded_up(timeout_s: float, atomic: int) -> None:
    ask = RunAsk.model_validate({"timeout": timeout_s})
    assert (await one_price(providers(able())["compute/local"], ask)).atomic == atomic


@pytest.mark.parametrize(
    ("fields", "atomic"),
    [
        ({"size": "small"}, 200 + 300),
        ({"size": "medium"}, 200 + 600),
        ({"size": "large"}, 200 + 1200),
        ({"size": "small", "timeout": 0.001}, 200 + 1),
        ({"size": "large", "timeout": 0.051}, 200 + 2),
        ({"size": "large", "dependencies": 1}, 200 + 1200 + 1000),
        ({"size": "large", "dependencies": 16}, 200 + 1200 + 1000),
        ({"size": "large", "codeSize": 5_000_000}, 200 + 1200),
    ],
)
async def test_a_run_costs_by_its_size_and_a_flat_extra_for_dependencies(
    fields: dict[str, Any], atomic: int
) -> None:
    price = await one_price(providers(able())["compute/local"], RunAsk.model_validate(fields))
    assert price.atomic == atomic
    assert isinstance(price.atomic, int)


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
    seller = providers(able(), MAX_UPLOAD_MB="1000")["storage/local"]
    assert (await one_price(seller, ask)).atomic == atomic


async def test_what_is_too_large_to_be_stored_has_no_price() -> None:
    seller = providers(able())["storage/local"]
    await one_price(seller, StoreAsk(file_size_bytes=100 * MB))
    with pytest.raises(Decline, match="100 MB"):
        await one_price(seller, StoreAsk(file_size_bytes=101 * MB))


async def test_the_price_book_is_a_setting() -> None:
    found = providers(
        able(),
        PRICE_CACHE_ATOMIC="123",
        PRICE_RUN_BASE_ATOMIC="1000",
        PRICE_RUN_DEPENDENCIES_ATOMIC="7",
    )
    assert (await one_price(found["cache/redis"], CacheAsk())).atomic == 123
    assert (await one_price(found["cache/memcached"], CacheAsk(provider="memcached"))).atomic == 123
    with pytest.raises(Decline):
        await one_price(found["cache/memcached"], CacheAsk())
    short = {"timeout": 1, "dependencies": 2}
    assert (await one_price(found["compute/local"], RunAsk.model_validate(short))).atomic == 1017


@pytest.mark.parametrize(
    ("answer", "code", "reason", "retry_after_s"),
    [
        ({"providers": []}, "no_providers", "does not do this work", 60),
        (
            {"providers": [{**LOCAL, "status": "unavailable", "reason": "no bwrap"}]},
            "sandbox_unavailable",
            "no bwrap",
            60,
        ),
        (
            {"providers": [{**LOCAL, "sellable": False, "reason": "SANDBOX=off"}]},
            "sandbox_unavailable",
            "SANDBOX=off",
            60,
        ),
        ({"providers": [FULL]}, "executor_busy", "full", 7),
        ({"providers": [{**OLD, "accepting": False}]}, "executor_busy", "full", 5),
        ({"providers": [{**FULL, "retryAfterS": None}]}, "executor_busy", "full", 5),
        ({"providers": [{**FULL, "retryAfterS": 1.2}]}, "executor_busy", "full", 2),
        ({"providers": [{**FULL, "retryAfterS": 0}]}, "executor_busy", "full", 1),
        ({"providers": [{**FULL, "retryAfterS": 10**9}]}, "executor_busy", "full", 3600),
        ({"providers": [{**LOCAL, "languages": []}]}, "runtime_unavailable", "no python runtime", None),
        ({"providers": [{**FULL, "languages": []}]}, "runtime_unavailable", "no python runtime", None),
        ({"providers": [{**LOCAL, "memoryMb": 511}]}, "size_unavailable", "512 MB", None),
        (httpx.ConnectError("gone"), "executor_unavailable", "does not answer", 5),
        ({"unexpected": 1}, "executor_unavailable", "does not answer", 5),
        ({"providers": [{**FULL, "retryAfterS": "soon"}]}, "executor_unavailable", "does not answer", 5),
        ([], "executor_unavailable", "does not answer", 5),
    ],
)
async def test_what_the_executor_cannot_do_is_shown_but_not_sold(
    answer: Any, code: str, reason: str, retry_after_s: int | None
) -> None:
    price = await one_price(providers(Executor(answer))["compute/local"], RunAsk())
    assert price.refusal is not None
    assert (price.refusal.code, price.refusal.retry_after_s) == (code, retry_after_s)
    assert reason in price.refusal.reason


@pytest.mark.parametrize(
    "row",
    [
        LOCAL,
        OLD,
        {**LOCAL, "memoryMb": 512},
        {**LOCAL, "memoryMb": None, "retryAfterS": None, "accepting": None, "reason": None},
    ],
)
async def test_an_executor_that_says_nothing_against_it_is_sold(row: dict[str, Any]) -> None:
    price = await one_price(providers(Executor({"providers": [row]}))["compute/local"], RunAsk())
    assert price.refusal is None


async def test_dependencies_are_refused_where_the_executor_installs_none() -> None:
    languages = [{"name": "python", "dependencies": True}, {"name": "bash", "dependencies": False}]
    local = providers(Executor({"providers": [{**FULL, "languages": languages}]}))["compute/local"]

    async def code(language: str, dependencies: int) -> str | None:
        ask = RunAsk.model_validate({"language": language, "dependencies": dependencies})
        refusal = (await one_price(local, ask)).refusal
        return refusal and refusal.code

    assert await code("python", 1) == await code("bash", 0) == "executor_busy"
    assert await code("bash", 1) == "dependencies_unavailable"


async def test_a_small_run_is_sold_where_a_large_one_does_not_fit() -> None:
    local = providers(Executor({"providers": [{**LOCAL, "memoryMb": 300}]}))["compute/local"]
    refusals = {
        size: (await one_price(local, RunAsk.model_validate({"size": size}))).refusal
        for size in ("small", "medium", "large")
    }
    assert refusals["small"] is None
    assert refusals["medium"] is not None
    assert refusals["large"] is not None


BASE, TEST = "eip155:8453", "eip155:84532"
PAYS = {**LOCAL, "name": "far", "networks": [BASE], "spendableAtomic": 10_000}


@pytest.mark.parametrize(
    ("row", "needs", "code", "reason"),
    [
        (PAYS, Needs(price_atomic=10_000, network=BASE), None, ""),
        (PAYS, Needs(price_atomic=10_001, network=BASE), "executor_funds", "may spend $0.01 on a job now"),
        (PAYS, Needs(price_atomic=1, network=TEST), "network_unavailable", TEST),
        (
            {**PAYS, "spendableAtomic": 0},
            Needs(price_atomic=1, network=BASE),
            "executor_funds",
            "may spend $0 ",
        ),
        ({**PAYS, "networks": []}, Needs(price_atomic=1, network=BASE), "network_unavailable", BASE),
        (
            {**PAYS, "networks": None, "spendableAtomic": None},
            Needs(price_atomic=10**9, network=TEST),
            None,
            "",
        ),
        ({**PAYS, "accepting": False}, Needs(price_atomic=99_999), "executor_funds", "may spend"),
        ({**PAYS, "accepting": False}, Needs(price_atomic=1), "executor_busy", "no further work"),
        ({**PAYS, "status": "disabled", "reason": "no key"}, Needs(price_atomic=1), "no_providers", "no key"),
        (PAYS, Needs(), None, ""),
    ],
)
async def test_what_the_executor_cannot_pay_is_not_sold(
    row: dict[str, Any], needs: Needs, code: str | None, reason: str
) -> None:
    capability = await Executor({"providers": [row]}).capabilities().of("compute", "far")
    refusal = capability.refusal(needs)
    assert (refusal and refusal.code) == code
    if refusal is not None:
        assert reason in refusal.reason
        assert (refusal.retry_after_s is None) is (code == "network_unavailable")


async def test_what_the_executor_measured_is_known_even_of_one_that_does_not_work_now() -> None:
    measured = {**LOCAL, "status": "unavailable", "successRate": 0.5, "typicalMs": 7}
    executor = Executor({"providers": [measured]})
    known = executor.capabilities()
    assert known.last("compute", "local").success_rate is None
    await known.of("compute", "local")
    assert (known.last("compute", "local").success_rate, known.last("compute", "local").typical_ms) == (
        0.5,
        7,
    )
    assert known.fresh_until == executor.now + FRESH_S
    assert executor.asked == 1


async def test_a_full_executor_is_sold_again_half_a_second_after_it_took_work() -> None:
    executor = Executor({"providers": [FULL]})
    local = providers(executor)["compute/local"]
    assert (await one_price(local, RunAsk())).refusal is not None
    executor.answer = {"providers": [LOCAL]}
    executor.now += 0.49
    assert (await one_price(local, RunAsk())).refusal is not None
    executor.now += 0.02
    assert (await one_price(local, RunAsk())).refusal is None


async def test_the_executor_is_asked_once_for_many_and_again_when_the_answer_is_old() -> None:
    executor = able()
    local = providers(executor)["compute/local"]
    await asyncio.gather(*(local.prices(RunAsk()) for _ in range(100)))
    assert executor.asked == 1
    executor.now += 6
    await one_price(local, RunAsk())
    assert executor.asked == 2


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """The whole service, with an executor that is not there."""
    settings = {"EXECUTOR_SERVICE_URL": "http://127.0.0.1:9", "REMOTE_PROVIDERS": "off"}
    app = create_app(load_settings(QuoteSettings, settings))
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
        "compute": await http.post("/quote/compute", json={"codeSize": 10, "size": "large"}),
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
    assert answers["compute"].json()["quotes"][0]["metadata"]["memory_mb"] == 1024


@pytest.mark.parametrize("size", ["small", "medium", "large"])
async def test_every_way_of_asking_names_the_same_price_of_a_size(http: httpx.AsyncClient, size: str) -> None:
    query = {"operation": "run", "size": size, "codeSize": 10, "timeout": 7, "dependencies": 1}
    answers = [
        await http.get("/quote", params=query),
        await http.post("/quote/run", json={"codeSize": 10, "size": size, "timeout": 7, "dependencies": 1}),
        await http.post("/quote/compute", json={"size": size, "timeout": 7, "dependencies": ["six"]}),
    ]
    prices = {answer.json()["quotes"][0]["price_atomic"] for answer in answers}
    assert prices == {200 + {"small": 35, "medium": 70, "large": 140}[size] + 1000}


async def test_the_worked_examples_of_the_hosting_page_are_what_the_service_asks(
    http: httpx.AsyncClient,
) -> None:
    rows = re.findall(
        r"^\| (\w+) \| (\d+) MB \| ([\d.]+) s \| (yes|no) \| (\d+) \| \$([\d.]+) \|$",
        HOSTING.read_text(),
        re.MULTILINE,
    )
    assert {row[0] for row in rows} == {"small", "medium", "large"}
    fee = usd_to_atomic(BrokerSettings().broker_fee_usd)
    for size, memory, timeout, dependencies, atomic, usd in rows:
        ask = {"size": size, "timeout": timeout, "dependencies": dependencies == "yes"}
        quote = (await http.post("/quote/run", json=ask)).json()["quotes"][0]
        told = (quote["metadata"]["memory_mb"], quote["price_atomic"], quote["price_atomic"] + fee)
        assert told == (int(memory), int(atomic), usd_to_atomic(usd)), (size, timeout, dependencies)


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
        ("POST", "/quote/run", {"size": "huge"}),
        ("POST", "/quote/compute", {"size": ""}),
        ("GET", "/quote?operation=run&size=huge", None),
        ("GET", "/quote?operation=run&size=-5", None),
        ("GET", "/quote?operation=store&size=large", None),
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
    told = (await http.get("/providers")).json()["providers"]
    rows = [row for row in told if row["name"] not in REMOTE_PROVIDERS]
    assert {row["status"] for row in rows} == {"unavailable"}
    assert {row["refusal"]["code"] for row in rows} == {"executor_unavailable"}
