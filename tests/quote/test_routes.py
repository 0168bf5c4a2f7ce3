"""Every way of asking for a price, and every form of the answer."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

import quote.main
from quote.asks import kinds_asked
from quote.market import Market
from quote.providers.base import Context, Decline, Failed, Price
from quote.settings import QuoteSettings
from shared.breaker import FAILURES
from shared.errors import BadRequest
from shared.quotes import Kind
from shared.settings import load_settings

ROWS = [
    {"kind": kind, "name": name, "status": "available", "successRate": 0.75, "typicalMs": 40}
    for kind, name in (("compute", "local"), ("storage", "local"), ("cache", "redis"), ("compute", "remote"))
]


class Remote:
    """A provider that is asked through the market and answers as told."""

    name = "remote"
    kind: Kind = "compute"
    disabled: str | None = None

    def __init__(self, market: Market) -> None:
        self.market = market
        self.answer: Any = {"atomic": 500}
        self.asked = 0

    async def prices(self, ask: Any) -> list[Price]:
        answer = await self.market.ask("remote", str(ask.code_size_bytes), self.fetch)
        return [Price(answer["atomic"], settle="before")]

    async def fetch(self) -> dict[str, Any]:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        found: dict[str, Any] = self.answer
        return found


class Unused:
    name, kind = "unused", "storage"
    disabled = "REMOTE_PROVIDERS leaves it out"

    async def prices(self, ask: Any) -> list[Price]:
        raise AssertionError("it is disabled")


class Service:
    """The whole quote service in this process, with an executor that answers, and one remote provider."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.executor_asked = 0
        self.rows = ROWS

    def find(self, context: Context) -> list[Any]:
        self.remote = Remote(context.market)
        return [*_find(context), self.remote, Unused()]

    def client(self, *_: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.MockTransport(self._executor), base_url="http://executor.test"
        )

    def _executor(self, _: httpx.Request) -> httpx.Response:
        self.executor_asked += 1
        return httpx.Response(200, json={"providers": self.rows})


_find = quote.main.find_providers


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    one = Service()
    monkeypatch.setattr(quote.main, "find_providers", one.find)
    monkeypatch.setattr(quote.main, "internal_client", one.client)
    return one


@pytest.fixture
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    settings = load_settings(QuoteSettings, {"REMOTE_PROVIDERS": "off"})
    app = quote.main.create_app(settings, lambda: service.now)
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://t") as client,
    ):
        yield client


@pytest.mark.parametrize("prefix", ["", "/v2"])
@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("store", "storage"),
        ("storage", "storage"),
        ("run", "compute"),
        ("compute", "compute"),
        ("execute", "compute"),
        ("cache", "cache"),
    ],
)
async def test_every_operation_has_its_routes(
    http: httpx.AsyncClient, prefix: str, path: str, operation: str
) -> None:
    for answer in (
        await http.post(f"{prefix}/quote/{path}", json={}),
        await http.get(f"{prefix}/quote/{path}"),
        await http.post(f"{prefix}/quote", json={"operation": path}),
        await http.get(f"{prefix}/quote", params={"operation": path}),
    ):
        assert answer.status_code == 200
        body = answer.json()
        assert body["operation"] == operation
        assert body["best"]["executable"] is True
        assert body["best"] == body["quotes"][0]
        assert ("file_size_mb" in body) is (operation == "storage")
    for answer in (
        await http.post(f"{prefix}/quote/best", json={"operation": path}),
        await http.get(f"{prefix}/quote/best", params={"operation": path}),
    ):
        assert answer.json()["best"]["kind"] == operation


@pytest.mark.parametrize(
    ("query", "body", "path"),
    [
        ("operation=execute&size=1024&language=js", {"codeSize": 1024, "language": "js"}, "run"),
        (
            "operation=run&code_size=5&timeout=7&provider=local",
            {"codeSize": 5, "timeout": 7, "provider": "local"},
            "run",
        ),
        ("fileSize=5000000&permanent=true", {"fileSize": 5_000_000, "permanent": True}, "store"),
        ("operation=store&size=9&permanent=false&ttl=60", {"fileSize": 9, "ttl": 60}, "store"),
        ("operation=cache&region=eu&operations=90000", {"region": "eu", "operations": 90_000}, "cache"),
        ("region=eu&maxCostUsd=0.001", {"region": "eu", "max_cost_usd": "0.001"}, "cache"),
    ],
)
async def test_a_query_asks_what_a_body_asks(
    http: httpx.AsyncClient, query: str, body: dict[str, Any], path: str
) -> None:
    by_query = (await http.get(f"/quote?{query}")).json()
    assert by_query["count"] >= 1
    assert by_query == (await http.post(f"/quote/{path}", json=body)).json()


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({"codeSize": 1}, ["compute"]),
        ({"code": "print(1)", "language": "python"}, ["compute"]),
        ({"size": "large"}, ["compute"]),
        ({"fileSize": 1, "ttl": 60}, ["storage"]),
        ({"file_name": "a.txt"}, ["storage"]),
        ({"ttl": 60}, ["storage"]),
        ({"region": "eu", "ttl": 60}, ["cache"]),
        ({"size_mb": 5, "ttl_hours": 2}, ["cache"]),
        ({"codeSize": 1, "fileSize": 1}, ["compute", "storage"]),
        ({"operation": "hybrid"}, ["compute", "storage"]),
        ({"operation": "Cache", "codeSize": 1, "fileSize": 1}, ["cache"]),
        ({"operation": "store", "language": "python"}, ["storage"]),
    ],
)
def test_what_is_wanted_is_seen_by_the_fields_unless_it_is_said(
    fields: dict[str, Any], kinds: list[str]
) -> None:
    assert kinds_asked(fields) == kinds


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"size": 5},
        {"size": "5"},
        {"provider": "local"},
        {"color": "red"},
        {"region": "eu", "fileSize": 1},
    ],
)
def test_an_ask_for_nothing_known_is_told_what_to_send(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="send operation"):
        kinds_asked(fields)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/quote", {}),
        ("POST", "/quote", {"operation": "fly"}),
        ("POST", "/quote", {"operation": ["run"]}),
        ("POST", "/v2/quote", {"codeSize": -1, "fileSize": 1}),
        ("GET", "/quote", None),
        ("GET", "/quote?operation=unknown&size=1024", None),
        ("GET", "/quote/best", None),
        ("POST", "/quote/best", {"operation": "hybrid"}),
        ("POST", "/quote/cache", {"operations": 0}),
        ("POST", "/quote/run", {"maxCostUsd": "NaN"}),
        ("POST", "/quote/store", {"provider": "unused"}),
    ],
)
async def test_wrong_asks_are_400(http: httpx.AsyncClient, method: str, path: str, body: Any) -> None:
    answer = await http.request(method, path, json=body)
    assert (answer.status_code, answer.json()["success"]) == (400, False)


async def test_a_route_that_is_not_there_is_404(http: httpx.AsyncClient) -> None:
    answer = await http.post("/quote/fly", json={})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_the_cache_is_asked_in_either_of_its_ways(http: httpx.AsyncClient) -> None:
    own = (await http.post("/quote/cache", json={"region": "us-east-1"})).json()
    other = (await http.post("/quote/cache", json={"size_mb": 10, "operation": "set", "ttl_hours": 1})).json()
    assert own == other
    assert own["best"]["provider"] == "redis"


async def test_a_hybrid_compares_both_and_adds_the_bests(http: httpx.AsyncClient) -> None:
    ask = {"codeSize": 5, "size": "large", "timeout": 7, "fileSize": 5_000_000, "permanent": True}
    found = (await http.post("/quote", json=ask)).json()
    run = (await http.post("/quote/run", json={"size": "large", "timeout": 7, "codeSize": 5})).json()
    store = (await http.post("/quote/store", json={"fileSize": 5_000_000, "permanent": True})).json()
    assert (found["operation"], found["compute"], found["storage"]) == ("hybrid", run, store)
    total = run["best"]["price_atomic"] + store["best"]["price_atomic"]
    assert (found["total_price_atomic"], found["reason"]) == (total, None)
    dear = (await http.post("/quote", json={**ask, "maxCostUsd": (total - 1) / 1e6})).json()
    assert dear["reason"] == "together they are over maxCostUsd"
    none = (await http.post("/quote", json={**ask, "maxCostUsd": 0})).json()
    assert (none["total_price_usd"], none["reason"]) == (None, "no compute can be bought now")
    by_size = (await http.get("/quote?operation=hybrid&size=7000000&language=python")).json()
    assert by_size["storage"]["file_size_mb"] == 7.0


async def test_tables_have_all_prices_and_reasons(http: httpx.AsyncClient, service: Service) -> None:
    service.remote.answer = Decline("too | large")
    as_csv = await http.post("/quote/run", json={}, headers={"Accept": "text/csv"})
    assert as_csv.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(as_csv.text)))
    assert [(row["provider"], row["choice"], row["reason"]) for row in rows] == [
        ("local", "best", ""),
        ("remote", "declined", "too | large"),
    ]
    as_markdown = await http.get("/quote?operation=run", headers={"Accept": "text/markdown"})
    assert as_markdown.headers["content-type"] == "text/markdown; charset=utf-8"
    assert r"too \| large |" in as_markdown.text
    both = await http.post("/quote", json={"operation": "hybrid"}, headers={"Accept": "text/csv"})
    assert [row["kind"] for row in csv.DictReader(io.StringIO(both.text))] == [
        "compute",
        "compute",
        "storage",
    ]
    plain = await http.post("/quote/run", json={})
    assert {answer.headers["vary"] for answer in (as_csv, as_markdown, both, plain)} == {"Accept"}
    assert plain.json()["declined"][0]["provider"] == "remote"


async def test_best_says_why_each_other_one_is_not(http: httpx.AsyncClient, service: Service) -> None:
    service.remote.answer = {"atomic": 5000}
    answer = (await http.post("/quote/best", json={"operation": "run", "codeSize": 7})).json()
    assert (answer["best"]["provider"], answer["considered"], answer["unavailable"]) == ("local", 2, {})
    assert answer["not_chosen"] == {"remote": "costs $0.0042 more than local"}
    none = (await http.post("/quote/best", json={"operation": "run", "max_cost_usd": 0})).json()
    assert none["best"] is None
    assert set(none["not_chosen"].values()) == {"its price is over maxCostUsd"}


@pytest.mark.parametrize("answer", [Failed("it answered 404"), Failed("it answered 500"), {"price": "free"}])
async def test_an_answer_that_is_no_price_is_never_free_and_never_best(
    http: httpx.AsyncClient, service: Service, answer: Any
) -> None:
    service.remote.answer = answer
    found = (await http.post("/quote/run", json={})).json()
    assert [one["provider"] for one in found["quotes"]] == ["local"]
    assert found["best"]["provider"] == "local"
    assert found["declined"][0]["provider"] == "remote"


async def test_an_equal_question_is_answered_again_without_asking_anybody(
    http: httpx.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def counting(self: Remote, ask: Any) -> list[Price]:
        asked.append("remote")
        return await prices(self, ask)

    prices = Remote.prices
    monkeypatch.setattr(Remote, "prices", counting)

    async def ask(body: str = "{}", accept: str = "*/*", path: str = "/quote/run") -> httpx.Response:
        headers = {"Accept": accept, "Content-Type": "application/json"}
        return await http.post(path, content=body, headers=headers)

    await ask()  # what the market learns meanwhile ends what was answered before
    first = await ask()
    assert len(asked) == 2
    assert (await ask()).content == first.content
    assert len(asked) == 2
    for other in (
        ask(body="{ }"),
        ask(accept="text/csv"),
        ask(path="/quote/compute"),
        ask(path="/v2/quote/run"),
    ):
        before = len(asked)
        await other
        assert len(asked) == before + 1


async def test_what_the_executor_says_is_never_told_for_longer_than_it_is_believed(
    http: httpx.AsyncClient, service: Service
) -> None:
    async def executable() -> bool:
        found = (await http.post("/quote/run", json={"provider": "local"})).json()
        return bool(found["quotes"][0]["executable"])

    assert await executable()
    service.rows = [{**row, "accepting": False} for row in ROWS]
    service.now += 0.3
    assert await executable()
    service.now += 0.19
    assert await executable()
    service.now += 0.02
    assert not await executable()


async def test_an_answer_is_not_told_again_when_a_provider_was_given_up(
    http: httpx.AsyncClient, service: Service
) -> None:
    async def best() -> str:
        return str((await http.post("/quote/run", json={})).json()["best"]["provider"])

    assert [await best(), await best()] == ["remote", "remote"]
    service.remote.answer = Failed("it answered 500")
    for size in range(1, FAILURES + 1):
        await http.post("/quote/run", json={"codeSize": size})
    assert await best() == "local"


async def test_a_wrong_question_is_not_taken_for_a_right_one(http: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    for _ in range(3):
        assert (await http.post("/quote/run", content="{}", headers=headers)).status_code == 200
    plain = await http.post("/quote/run", content="{}", headers={"Content-Type": "text/plain"})
    assert plain.status_code == 422
    assert (await http.post("/quote/run", content="[]", headers=headers)).status_code == 422
    assert (await http.post("/quote/run", content="{", headers=headers)).status_code == 422
    large = await http.post("/quote/run", content=b" " * (11 * 1024 * 1024), headers=headers)
    assert large.status_code == 413


async def test_providers_tell_what_is_known_and_ask_nobody(http: httpx.AsyncClient, service: Service) -> None:
    async def rows() -> dict[str, Any]:
        found = (await http.get("/providers")).json()
        assert found["count"] == len(found["providers"])
        return {f"{row['kind']}/{row['name']}": row for row in found["providers"]}

    unset = {"kind": "cache", "name": "memcached", "status": "disabled", "reason": "MEMCACHED_URL is not set"}
    broken = {"kind": "storage", "name": "local", "status": "unavailable", "reason": "it is full"}
    service.rows = [*(row for row in ROWS if row["kind"] != "storage"), unset, broken]
    new = await rows()
    assert new["storage/unused"]["status"] == "disabled"
    assert new["storage/unused"]["reason"] == "REMOTE_PROVIDERS leaves it out"
    assert new["storage/unused"]["refusal"]["code"] == "provider_disabled"
    for row in (unset, broken):
        told = new[f"{row['kind']}/{row['name']}"]
        assert (told["status"], told["reason"]) == (row["status"], row["reason"])
    remote = new["compute/remote"]
    assert (remote["status"], remote["refusal"], remote["circuit"]) == ("available", None, "closed")
    assert (remote["jobs_success_rate"], remote["jobs_typical_ms"]) == (0.75, 40)
    assert [remote[name] for name in ("success_rate", "last_asked", "last_error", "price_sample")] == [
        None
    ] * 4
    await http.post("/quote/run", json={"codeSize": 7, "maxCostUsd": 3})
    service.remote.answer = Failed("it answered 500")
    await http.post("/quote/run", json={"codeSize": 8})
    remote = (await rows())["compute/remote"]
    assert remote["success_rate"] == 0.5
    assert remote["last_error"] == {"text": "it answered 500", "at": "2027-01-15T08:00:00.000Z"}
    assert remote["last_asked"] == "2027-01-15T08:00:00.000Z"
    assert remote["price_sample"]["price_usd"] == "0.0005"
    assert remote["price_sample"]["of"]["codeSizeBytes"] == 7
    assert remote["price_sample"]["of"].keys().isdisjoint({"provider", "maxCostUsd"})
    assert remote["status"] == "available"
    for size in range(9, 9 + FAILURES):
        await http.post("/quote/run", json={"codeSize": size})
    asked = service.remote.asked
    remote = (await rows())["compute/remote"]
    assert (remote["status"], remote["circuit"]) == ("unavailable", "open")
    assert remote["refusal"]["code"] == "provider_failing"
    assert 20 <= remote["refusal"]["retry_after_s"] <= 40
    service.now += remote["refusal"]["retry_after_s"]
    remote = (await rows())["compute/remote"]
    assert (remote["status"], remote["circuit"], remote["refusal"]) == ("available", "half_open", None)
    assert service.remote.asked == asked


async def test_the_card_and_the_docs_name_what_there_is(http: httpx.AsyncClient) -> None:
    card = (await http.get("/")).json()
    assert (card["service"], card["operations"]) == ("galaksio-quote", ["cache", "compute", "storage"])
    paths = (await http.get("/openapi.json")).json()["paths"]
    assert {"/quote", "/quote/best", "/quote/{operation}", "/v2/quote", "/providers"} <= paths.keys()
    names = {parameter["name"] for parameter in paths["/quote"]["get"]["parameters"]}
    assert {"operation", "size", "codeSize", "fileSize", "permanent", "region", "maxCostUsd"} <= names


async def test_many_equal_questions_at_once_cost_one_of_each(
    http: httpx.AsyncClient, service: Service
) -> None:
    answers = await asyncio.gather(*(http.post("/quote/run", json={"codeSize": 3}) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert (service.remote.asked, service.executor_asked) == (1, 1)
