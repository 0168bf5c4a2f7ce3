"""All providers are asked at once under one deadline; only a real price is a price."""

import asyncio
from typing import Any

import pytest

from quote.asks import RunAsk, parse_ask
from quote.fanout import QuoteEngine
from quote.providers.base import Decline, Price
from shared.errors import BadRequest
from shared.quotes import Kind, Refusal

CLOSED = Refusal(code="closed", reason="till noon", retry_after_s=60)


class Seller:
    """A provider that answers as told: a `Price`, an exception to raise, or an event to wait for."""

    kind: Kind = "compute"
    disabled: str | None = None

    def __init__(self, name: str, answer: Any) -> None:
        self.name = name
        self.answer = answer
        self.asked = 0

    async def prices(self, ask: Any) -> list[Price]:
        self.asked += 1
        if isinstance(self.answer, asyncio.Event):
            await self.answer.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        assert isinstance(self.answer, Price)
        return [self.answer]


def engine(*sellers: Seller, deadline_s: float = 0.2) -> QuoteEngine:
    return QuoteEngine(
        sellers, network="base-sepolia", deadline_s=deadline_s, valid_s=300, clock=lambda: 1_800_000_000.0
    )


async def test_the_cheapest_that_can_be_bought_is_best() -> None:
    found = await engine(
        Seller("dear", Price(900)),
        Seller("cheap but closed", Price(1, refusal=CLOSED)),
        Seller("good", Price(800)),
    ).compare("compute", RunAsk())
    assert [quote.provider for quote in found.quotes] == ["good", "dear", "cheap but closed"]
    assert found.best is not None
    assert (found.best.provider, found.best.price_usd, found.best.price_atomic) == ("good", "0.0008", 800)
    assert found.best.valid_until == "2027-01-15T08:05:00.000Z"
    closed = found.quotes[2]
    assert (closed.executable, closed.refusal, closed.metadata["unavailable"]) == (False, CLOSED, "till noon")


async def test_equal_prices_are_ranked_by_name_so_that_answers_do_not_flicker() -> None:
    found = await engine(Seller("b", Price(5)), Seller("a", Price(5))).compare("compute", RunAsk())
    assert [quote.provider for quote in found.quotes] == ["a", "b"]


@pytest.mark.parametrize("amount", [0, -1, 2**63])
async def test_a_price_that_is_not_a_positive_amount_is_declined(amount: int) -> None:
    found = await engine(Seller("odd", Price(amount))).compare("compute", RunAsk())
    assert (found.best, found.count) == (None, 0)
    assert found.declined[0].provider == "odd"


async def test_one_that_fails_and_one_that_declines_spoil_nothing() -> None:
    found = await engine(
        Seller("broken", RuntimeError("secret")),
        Seller("not me", Decline("too large")),
        Seller("ok", Price(7)),
    ).compare("compute", RunAsk())
    assert found.best is not None
    assert found.best.provider == "ok"
    assert {row.provider: row.reason for row in found.declined} == {
        "broken": "the provider failed",
        "not me": "too large",
    }


async def test_one_that_hangs_is_left_behind_at_the_deadline() -> None:
    hanging = Seller("slow", asyncio.Event())
    found = await engine(hanging, Seller("ok", Price(7))).compare("compute", RunAsk())
    assert found.best is not None
    assert found.declined[0].reason == "no answer within 0.2 s"
    assert [task for task in asyncio.all_tasks() if task.get_name() == "slow"] == []


async def test_a_named_provider_alone_is_asked_and_an_unknown_one_is_a_400() -> None:
    one, two = Seller("one", Price(1)), Seller("two", Price(2))
    found = await engine(one, two).compare("compute", RunAsk(provider="two"))
    assert (one.asked, two.asked, found.count) == (0, 1, 1)
    with pytest.raises(BadRequest, match="one, two"):
        await engine(one, two).compare("compute", RunAsk(provider="three"))


@pytest.mark.parametrize(
    ("operation", "fields", "kind"),
    [
        ("execute", {"codeSize": 5, "language": "node"}, "compute"),
        ("run", {"code_size": 5}, "compute"),
        ("compute", {"size": "Large", "dependencies": 3}, "compute"),
        ("Storage", {"fileSize": 1, "permanent": True}, "storage"),
        ("cache", {"region": "eu-west-1"}, "cache"),
    ],
)
def test_operations_have_aliases_and_fields_two_spellings(
    operation: str, fields: dict[str, Any], kind: str
) -> None:
    assert parse_ask(operation, fields)[0] == kind


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ("fly", {}),
        (None, {}),
        ("run", {"codeSize": -1}),
        ("run", {"codeSize": "many"}),
        ("run", {"language": "cobol"}),
        ("run", {"timeout": 1e9}),
        ("run", {"size": "huge"}),
        ("run", {"size": None}),
        ("run", {"size": True}),
        ("run", {"size": -1}),
        ("run", {"size": ["small"]}),
        ("run", {"dependencies": -1}),
        ("run", {"dependencies": 17}),
        ("run", {"dependencies": ["six"] * 17}),
        ("run", {"dependencies": "six"}),
        ("store", {"fileSize": 2**60}),
        ("store", {"ttl": 0}),
    ],
)
def test_a_wrong_ask_is_a_400(operation: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        parse_ask(operation, fields)


@pytest.mark.parametrize(
    ("fields", "size", "code_size_bytes"),
    [
        ({}, "medium", 1024),
        ({"size": "small"}, "small", 1024),
        ({"size": " LARGE "}, "large", 1024),
        ({"size": 77}, "medium", 77),
        ({"size": "77"}, "medium", 77),
        ({"size": 77, "codeSize": 5}, "medium", 5),
        ({"size": "large", "codeSize": 5}, "large", 5),
    ],
)
def test_the_size_of_a_run_is_a_name_and_a_number_is_bytes_of_code(
    fields: dict[str, Any], size: str, code_size_bytes: int
) -> None:
    _, ask = parse_ask("run", fields)
    assert isinstance(ask, RunAsk)
    assert (ask.size, ask.code_size_bytes) == (size, code_size_bytes)


def test_an_unknown_size_is_told_the_known_ones() -> None:
    with pytest.raises(BadRequest, match="small, medium, large"):
        parse_ask("run", {"size": "xl"})


@pytest.mark.parametrize(("given", "count"), [(2, 2), (True, 1), (False, 0), (["six", "attrs"], 2), ([], 0)])
def test_dependencies_are_a_count_or_the_list_itself(given: Any, count: int) -> None:
    _, ask = parse_ask("run", {"dependencies": given})
    assert isinstance(ask, RunAsk)
    assert ask.dependencies == count
