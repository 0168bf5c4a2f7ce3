"""Nobody is told a price for work that is not taken now: pricing over the real quote service, in process."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from broker.clients import QuoteClient
from broker.operations import RUN
from broker.payments import admission
from broker.payments.admission import nobody_sells
from broker.payments.offers import Offer, OfferBook
from broker.payments.pricing import Pricing
from quote.main import create_app
from quote.settings import QuoteSettings
from shared.database import Database
from shared.errors import BadRequest, GalaksioError, Unavailable
from shared.quotes import Declined, Quote, QuoteList, Refusal
from shared.settings import load_settings
from tests.broker.conftest import FakeClock

FEE = 5000
EXECUTOR = "http://executor.test"
ABLE: dict[str, Any] = {
    "name": "local",
    "kind": "compute",
    "status": "available",
    "languages": [{"name": "python", "version": "3.13"}],
    "accepting": True,
    "retryAfterS": 1,
    "memoryMb": 1024,
}
FULL = {**ABLE, "accepting": False, "retryAfterS": 7}
NO_SANDBOX = {**ABLE, "status": "unavailable", "reason": "no bubblewrap"}


@dataclass
class Shop:
    """Pricing, the quote service behind it and the executor's row, all at one hand-moved time."""

    pricing: Pricing
    clock: FakeClock
    row: dict[str, Any] | None = field(default_factory=lambda: ABLE)
    executor_asked: int = 0
    quote_asked: list[str] = field(default_factory=list)
    quote_is_down: bool = False

    def executor_says(self, _: httpx.Request) -> httpx.Response:
        self.executor_asked += 1
        if self.row is None:
            raise httpx.ConnectError("gone")
        return httpx.Response(200, json={"providers": [self.row]})

    def change(self, row: dict[str, Any] | None) -> None:
        """The executor says this from now on, and a second passes."""
        self.row = row
        self.clock.now += 1

    async def offer(self, code: str = "print(1)", **fields: Any) -> Offer:
        work = RUN.parse(json.dumps({"code": code, **fields}).encode(), {})
        return await self.pricing.offer(RUN, work, repr(work.meaning))

    async def refused(self, code: str = "print(1)", **fields: Any) -> GalaksioError:
        with pytest.raises(GalaksioError) as caught:
            await self.offer(code, **fields)
        return caught.value


@pytest.fixture
async def shop(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    monkeypatch.setattr(admission, "WAIT_S", 30.0)  # a crowd takes its time on a busy machine
    database = Database(f"sqlite:///{tmp_path / 'broker.sqlite'}")
    await database.migrate("broker:migrations", "broker_version")
    settings = {"EXECUTOR_SERVICE_URL": EXECUTOR, "REMOTE_PROVIDERS": "off", "QUOTE_DEADLINE_S": "30"}
    quote = create_app(load_settings(QuoteSettings, settings), clock)
    inside = httpx.ASGITransport(quote, client=("127.0.0.1", 1))

    async def asked(request: httpx.Request) -> None:
        shop.quote_asked.append(request.url.path)
        if shop.quote_is_down:
            raise httpx.ConnectError("gone")

    async with (
        quote.router.lifespan_context(quote),
        httpx.AsyncClient(
            transport=inside, base_url="http://quote.test", event_hooks={"request": [asked]}
        ) as client,
    ):
        pricing = Pricing(QuoteClient(client), OfferBook(database, clock, ttl_s=300), FEE, clock)
        shop = Shop(pricing, clock)
        with respx.mock:
            respx.get(f"{EXECUTOR}/providers").mock(side_effect=shop.executor_says)
            yield shop
    await database.close()


def said(error: GalaksioError) -> tuple[int, str, str | None]:
    return error.status, error.code, error.headers.get("Retry-After")


async def test_a_full_executor_is_a_503_before_any_price_with_its_own_time_to_come_back(shop: Shop) -> None:
    shop.change(FULL)
    error = await shop.refused()
    assert said(error) == (503, "executor_busy", "7")
    assert "nothing was charged" in error.message
    assert "slots" in error.extra["providers"]["local"]


async def test_a_price_that_was_told_is_not_told_again_while_the_executor_is_full(shop: Shop) -> None:
    told = await shop.offer()
    shop.change(FULL)
    assert said(await shop.refused()) == (503, "executor_busy", "7")
    shop.change(ABLE)
    assert await shop.offer() == told, "the price holds over the pause"


@pytest.mark.parametrize(
    ("row", "answer"),
    [(None, (503, "executor_unavailable", "5")), (NO_SANDBOX, (503, "sandbox_unavailable", "60"))],
)
async def test_nor_while_the_executor_is_gone_or_has_no_sandbox(
    shop: Shop, row: dict[str, Any] | None, answer: tuple[int, str, str]
) -> None:
    await shop.offer()
    shop.change(row)
    error = await shop.refused()
    assert (said(error), error.message) == (answer, "No providers available")


async def test_what_this_host_never_does_is_a_400_with_the_reason(shop: Shop) -> None:
    shop.row = {**FULL, "memoryMb": 512}
    error = await shop.refused(size="large")
    assert said(error) == (400, "size_unavailable", None)
    assert "1024 MB" in error.message
    error = await shop.refused(language="javascript")
    assert said(error) == (400, "runtime_unavailable", None)
    assert "javascript" in error.message
    assert said(await shop.refused(size="medium"))[1] == "executor_busy"


async def test_a_crowd_that_asks_at_once_costs_the_executor_one_question(shop: Shop) -> None:
    await shop.offer()
    shop.change(ABLE)
    shop.executor_asked, shop.quote_asked = 0, []
    await asyncio.gather(*(shop.offer() for _ in range(200)))
    assert (shop.executor_asked, shop.quote_asked) == (1, ["/providers"])
    shop.clock.now += 0.4
    await asyncio.gather(*(shop.offer() for _ in range(200)))
    assert shop.executor_asked == 1
    shop.row = FULL
    shop.clock.now += 0.2
    answers = await asyncio.gather(*(shop.refused(f"print({n})") for n in range(50)))
    assert {error.code for error in answers} == {"executor_busy"}
    assert shop.executor_asked == 2


async def test_a_price_that_was_told_holds_without_quote(shop: Shop) -> None:
    told = await shop.offer()
    shop.clock.now += 1
    shop.quote_is_down = True
    assert await shop.offer() == told
    assert said(await shop.refused("print(2)"))[1] == "quote_unavailable"


NONSENSE = [
    b"",
    b"<html>",
    b"null",
    b'{"status": "ok"}',
    b'{"providers": [{"name": "local"}], "count": 1}',
    b"[" * 50_000,
    b'{"providers": [{"name": "local", "kind": "compute", "status": "unavailable",'
    b' "refusal": {"code": "Not a code", "reason": "", "retry_after_s": -1}}], "count": 1}',
]


async def test_an_answer_that_is_not_understood_takes_no_price_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = await shop.offer()
    left = list(NONSENSE)

    async def nonsense(self: QuoteClient, method: str, path: str, **_: Any) -> httpx.Response:
        request = httpx.Request(method, f"http://quote.test{path}")
        return httpx.Response(200, content=left.pop(), request=request)

    monkeypatch.setattr(QuoteClient, "forward", nonsense)
    for _ in NONSENSE:
        shop.clock.now += 1
        assert await shop.offer() == told
    assert left == []


async def test_the_price_follows_the_size_and_is_bound_to_it(shop: Shop) -> None:
    offers = {size: await shop.offer(size=size, timeout=60) for size in ("small", "medium", "large")}
    assert {size: offer.price_atomic for size, offer in offers.items()} == {
        "small": FEE + 500,
        "medium": FEE + 800,
        "large": FEE + 1400,
    }
    assert len({offer.request_hash for offer in offers.values()}) == 3
    assert (await shop.offer(timeout=60)).id == offers["medium"].id


async def test_the_starting_price_stays_when_the_executor_is_full_and_goes_with_its_sandbox(
    shop: Shop,
) -> None:
    shop.change(FULL)
    first = await shop.pricing.starting_offer(RUN, "POST", "/run")
    assert first.price_atomic == FEE + 205
    shop.change(FULL)
    assert await shop.pricing.starting_offer(RUN, "POST", "/run") == first
    shop.change(NO_SANDBOX)
    with pytest.raises(Unavailable) as caught:
        await shop.pricing.starting_offer(RUN, "POST", "/run")
    assert caught.value.code == "sandbox_unavailable"


async def test_the_menu_has_the_price_of_every_size_that_is_sold_here(shop: Shop) -> None:
    shop.row = {**FULL, "memoryMb": 512}
    menu = await shop.pricing.menu(RUN)
    assert [(row["size"], row["memoryMb"], row["timeout"], row["priceAtomic"]) for row in menu] == [
        ("small", 256, 1, "5205"),
        ("small", 256, 60, "5500"),
        ("medium", 512, 1, "5210"),
        ("medium", 512, 60, "5800"),
    ]
    assert menu[0]["priceUsd"] == "0.005205"
    shop.quote_asked.clear()
    assert await shop.pricing.menu(RUN) == menu
    assert shop.quote_asked == []


async def test_a_menu_without_prices_is_not_kept(shop: Shop) -> None:
    shop.change(NO_SANDBOX)
    with pytest.raises(Unavailable):
        await shop.pricing.menu(RUN)
    shop.change(ABLE)
    assert len(await shop.pricing.menu(RUN)) == 6


def shown(provider: str, refusal: Refusal | None) -> Quote:
    return Quote(
        provider=provider,
        kind="compute",
        price_usd="0",
        price_atomic=1,
        network="base-sepolia",
        valid_until="2027-01-15T08:00:00Z",
        executable=False,
        refusal=refusal,
    )


BUSY = Refusal(code="executor_busy", reason="full", retry_after_s=7)
DOWN = Refusal(code="executor_unavailable", reason="down", retry_after_s=5)
NEVER = Refusal(code="size_unavailable", reason="too large")


@pytest.mark.parametrize(
    ("refusals", "late", "answer"),
    [
        ([BUSY], False, (503, "executor_busy", "7")),
        ([NEVER, BUSY, DOWN], True, (503, "executor_busy", "5")),
        ([DOWN], False, (503, "executor_unavailable", "5")),
        ([DOWN, DOWN], False, (503, "executor_unavailable", "5")),
        ([DOWN, NEVER], False, (503, "no_providers", "5")),
        ([NEVER], False, (400, "size_unavailable", None)),
        ([NEVER], True, (503, "no_providers", "9")),
        ([NEVER, None], False, (503, "no_providers", "10")),
        ([None], False, (503, "no_providers", "10")),
        ([], True, (503, "no_providers", "9")),
        ([], False, (503, "no_providers", "10")),
    ],
)
def test_when_nobody_sells_the_answer_says_whether_to_wait(
    refusals: list[Refusal | None], late: bool, answer: tuple[int, str, str | None]
) -> None:
    quotes = [shown(f"p{number}", refusal) for number, refusal in enumerate(refusals)]
    declined = (
        [Declined(provider="late", kind="compute", reason="no answer", retry_after_s=9)] if late else []
    )
    error = nobody_sells(QuoteList(quotes=quotes, count=len(quotes), declined=declined))
    assert said(error) == answer
    assert isinstance(error, BadRequest if error.status == 400 else Unavailable)
    assert set(error.extra["providers"]) == {quote.provider for quote in quotes} | {
        row.provider for row in declined
    }


def test_who_sells_such_work_to_nobody_is_waited_for_by_nobody() -> None:
    other = Declined(provider="other", kind="compute", reason="it runs python only")
    never = nobody_sells(QuoteList(quotes=[shown("local", NEVER)], count=1, declined=[other]))
    assert said(never) == (400, "size_unavailable", None)
    alone = nobody_sells(QuoteList(quotes=[], count=0, declined=[other]))
    assert said(alone) == (400, "not_sold", None)
    assert "it runs python only" in alone.message
