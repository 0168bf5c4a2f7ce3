"""All providers are asked at once under one deadline; only a real price is a price."""

import asyncio
from contextlib import suppress
from functools import reduce
from typing import Any

import pytest

from quote.asks import RunAsk, parse_ask
from quote.fanout import GRACE_S, QuoteEngine
from quote.market import Market
from quote.providers.base import Decline, Failed, Price
from shared.errors import BadRequest
from shared.quotes import Kind, QuoteList, Refusal

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
        if isinstance(self.answer, BaseException):
            raise self.answer
        assert isinstance(self.answer, Price)
        return [self.answer]


def engine(*sellers: Seller, deadline_s: float = 60) -> QuoteEngine:
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
    found = await engine(hanging, Seller("ok", Price(7)), deadline_s=0.2).compare("compute", RunAsk())
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


class FakeTime(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._really_select = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = self._jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now

    def _jump(self, timeout_s: float | None) -> Any:
        self.now += timeout_s or 0
        return self._really_select(0)


class Slow(Seller):
    """Answers after `answer`'s time."""

    def __init__(self, name: str, after_s: float) -> None:
        super().__init__(name, Price(round(after_s * 1000)))
        self.after_s = after_s

    async def prices(self, ask: Any) -> list[Price]:
        await asyncio.sleep(self.after_s)
        return await super().prices(ask)


def took(*sellers: Seller) -> tuple[float, QuoteList]:
    """The seconds that asking them takes with a deadline of 3, and what they say."""
    loop = FakeTime()
    try:
        found = loop.run_until_complete(engine(*sellers, deadline_s=3.0).compare("compute", RunAsk()))
        return loop.now, found
    finally:
        loop.close()


def test_ten_providers_take_as_long_as_the_slowest_and_not_the_sum() -> None:
    seconds, found = took(*(Slow(f"s{number}", 0.1 + number / 10) for number in range(10)))
    assert (seconds, found.count) == (pytest.approx(1.0), 10)


def test_ten_providers_of_which_one_hangs_take_until_the_deadline() -> None:
    hanging = Seller("hangs", asyncio.Event())
    seconds, found = took(hanging, *(Slow(f"s{number}", 0.1 + number / 10) for number in range(9)))
    assert (seconds, found.count) == (pytest.approx(3.0), 9)
    assert found.best is not None
    assert found.best.provider == "s0"
    assert [row.reason for row in found.declined] == ["no answer within 3 s"]


class Stubborn(Seller):
    """Does not stop when it is told to."""

    async def prices(self, ask: Any) -> list[Price]:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)
                return await super().prices(ask)


def test_one_that_does_not_stop_is_not_waited_for() -> None:
    seconds, found = took(Stubborn("stubborn", Price(1)), Slow("good", 1.0))
    assert seconds <= 3.0 + 2 * GRACE_S
    assert found.count == 1


async def test_an_asker_who_leaves_takes_his_questions_along() -> None:
    asker = asyncio.create_task(
        engine(Seller("slow", asyncio.Event()), deadline_s=60).compare("compute", RunAsk())
    )
    await asyncio.sleep(0.01)
    asker.cancel()
    await asyncio.gather(asker, return_exceptions=True)
    await asyncio.sleep(0.01)
    assert [task for task in asyncio.all_tasks() if task.get_name() == "slow"] == []


async def test_one_that_is_disabled_is_not_asked_and_asking_for_it_by_name_says_why() -> None:
    off, on = Seller("off", Price(1)), Seller("on", Price(2))
    off.disabled = "REMOTE_PROVIDERS leaves it out"
    found = await engine(off, on).compare("compute", RunAsk())
    assert (off.asked, found.count, found.declined) == (0, 1, [])
    with pytest.raises(BadRequest, match="REMOTE_PROVIDERS leaves it out") as caught:
        await engine(off, on).compare("compute", RunAsk(provider="off"))
    assert caught.value.code == "provider_disabled"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (asyncio.CancelledError(), "the provider failed"),
        (ExceptionGroup("several", [ValueError()]), "the provider failed"),
        (Price(5, extras={"note": "\ud800"}), "what it says cannot be told"),
        (Price(5, metadata={"deep": reduce(lambda inner, _: [inner], range(2000), [])}), "cannot be told"),
        (Price(5, extras={"object": object()}), "what it says cannot be told"),
        (Price(5, network=7), "what it says cannot be told"),  # type: ignore[arg-type]
    ],
)
async def test_whatever_a_provider_does_is_a_declined_row(answer: Any, reason: str) -> None:
    found = await engine(Seller("odd", answer), Seller("ok", Price(7))).compare("compute", RunAsk())
    assert [quote.provider for quote in found.quotes] == ["ok"]
    assert [row.provider for row in found.declined] == ["odd"]
    assert found.declined[0].reason.endswith(reason)
    found.model_dump_json()


async def test_a_providers_own_fields_never_replace_ours() -> None:
    extras = {"executable": False, "price_atomic": 1, "not_chosen": "?", "currency": "EUR", "own": 1}
    found = await engine(Seller("odd", Price(7, extras=extras))).compare("compute", RunAsk())
    quote = found.quotes[0]
    assert (quote.executable, quote.price_atomic, quote.not_chosen, quote.currency) == (True, 7, None, "USDC")
    assert quote.model_dump()["own"] == 1


async def test_a_reason_is_text_of_bounded_length() -> None:
    found = await engine(Seller("odd", Decline("\ud800" + "x" * 9999))).compare("compute", RunAsk())
    assert len(found.declined[0].reason) == 300
    found.model_dump_json()


async def test_prices_of_others_are_listed_under_their_names() -> None:
    class Compares(Seller):
        async def prices(self, ask: Any) -> list[Price]:
            return [Price(9), Price(1, seller="aws", refusal=CLOSED)]

    found = await engine(Compares("akash", None)).compare("compute", RunAsk())
    assert [(quote.provider, quote.not_chosen) for quote in found.quotes] == [
        ("akash", None),
        ("aws", "till noon"),
    ]


async def test_a_price_holds_no_longer_than_the_answer_it_is_made_of() -> None:
    now = 1_800_000_000.0
    market = Market(ttl_s=100, clock=lambda: now)

    class Remote(Seller):
        async def prices(self, ask: Any) -> list[Price]:
            answers = [asyncio.create_task(market.ask("p", key, self.fetch)) for key in "ab"]
            await asyncio.gather(*answers)
            return [Price(7)]

        async def fetch(self) -> dict[str, Any]:
            return {}

    found = await engine(Remote("remote", None), Seller("own", Price(8))).compare("compute", RunAsk())
    ends = {quote.provider: quote.valid_until for quote in found.quotes}
    assert ends["own"] == "2027-01-15T08:05:00.000Z"
    assert "2027-01-15T08:01:29" <= ends["remote"] <= "2027-01-15T08:01:40.000Z"
    await market.close()


async def test_one_that_is_left_alone_says_when_it_is_asked_again() -> None:
    market = Market()

    async def fetch() -> dict[str, Any]:
        raise Failed("it answered 500")

    class Remote(Seller):
        async def prices(self, ask: Any) -> list[Price]:
            await market.ask("p", str(ask.code_size_bytes), fetch)
            return [Price(1)]

    remote = engine(Remote("remote", None))
    rows = [(await remote.compare("compute", RunAsk(code_size_bytes=n))).declined[0] for n in range(4)]
    assert [row.reason for row in rows[:3]] == ["it answered 500"] * 3
    assert "keeps failing" in rows[3].reason
    assert rows[3].retry_after_s is not None
    await market.close()


@pytest.mark.parametrize(
    ("answer", "retry_after_s"),
    [
        (Decline("too large"), None),
        (Price(0), None),
        (Failed("it answered 500"), 15),
        (RuntimeError(), 15),
        (Price(5, extras={"object": object()}), 15),
        (asyncio.Event(), 15),
    ],
)
async def test_waiting_helps_with_one_that_failed_and_not_with_one_that_does_not_sell_this(
    answer: Any, retry_after_s: int | None
) -> None:
    found = await engine(Seller("odd", answer), deadline_s=0.05).compare("compute", RunAsk())
    assert [row.retry_after_s for row in found.declined] == [retry_after_s]


async def test_the_customers_limit_leaves_dear_ones_unchosen() -> None:
    found = await engine(Seller("a", Price(900)), Seller("b", Price(800))).compare(
        "compute", RunAsk.model_validate({"maxCostUsd": "0.00085"})
    )
    assert found.best is not None
    assert (found.best.provider, found.quotes[1].not_chosen) == ("b", "its price is over maxCostUsd")
