"""What is bought of a comparison, and what is kept of it with the offer."""

from typing import Any

import pytest

from broker.operations import CACHE, STORE, TOP_UP
from broker.operations.base import mode_of
from broker.payments.choice import alternatives_to, best_quote, instructed_quote, quote_to_keep
from broker.payments.offers import SHORTEST_MS, OfferBook
from broker.payments.pricing import Pricing
from shared.errors import BadRequest, GalaksioError, Unavailable
from shared.quotes import Quote, QuoteList
from tests.broker.conftest import FakeClock

HOW_TO_PAY = {"x402Version": 1, "method": "POST", "url": "https://x.example/create", "accepts": [{}]}


def quote(provider: str, price_atomic: int, **more: Any) -> Quote:
    fields = {
        "provider": provider,
        "kind": "storage",
        "price_usd": "0.1",
        "price_atomic": price_atomic,
        "network": "base-sepolia",
        "valid_until": "2099-01-01T00:00:00.000Z",
    }
    return Quote.model_validate({**fields, **more})


def listed(*quotes: Quote) -> QuoteList:
    best = next((one for one in quotes if one.executable), None)
    return QuoteList(quotes=list(quotes), best=best, count=len(quotes))


REMOTE = quote("openx402", 100, settle="before", x402_instructions=HOW_TO_PAY)
LOCAL = quote("local", 200)
SHOWN = quote("aws", 50, executable=False)
FOUND = listed(SHOWN, REMOTE, LOCAL)
WORK = STORE.parse(b'{"data": "x"}', {})


def test_the_best_is_bought_and_the_others_stand_by_in_their_order() -> None:
    third = quote("pinata", 300, settle="before")
    found = listed(REMOTE, SHOWN, LOCAL, third)
    kept = quote_to_keep(best_quote(found), found, WORK)
    assert kept["provider"] == "openx402"
    assert kept["alternatives"] == [
        {"provider": "local", "settle": "after"},
        {"provider": "pinata", "settle": "before"},
    ]
    assert alternatives_to(kept, "openx402", paid_ahead=True) == ["local", "pinata"]
    assert alternatives_to(kept, "local", paid_ahead=True) == ["pinata"]
    assert alternatives_to(kept, "pinata", paid_ahead=True) == []
    assert alternatives_to(kept, "openx402", paid_ahead=False) == ["local"]
    assert alternatives_to(kept, "somebody", paid_ahead=True) == []


def test_nobody_stands_by_for_a_provider_that_was_named() -> None:
    named = STORE.parse(b'{"data": "x", "provider": "openx402"}', {})
    kept = quote_to_keep(best_quote(FOUND), FOUND, named)
    assert alternatives_to(kept, "openx402", paid_ahead=True) == []


def test_where_nobody_pays_nobody_is_paid() -> None:
    assert best_quote(FOUND, free=True).provider == "local"
    with pytest.raises(Unavailable):
        best_quote(listed(REMOTE), free=True)


def test_instructions_name_the_cheapest_that_the_customer_can_pay() -> None:
    unable = quote("pinata", 90, settle="before", executable=False, x402_instructions=HOW_TO_PAY)
    chosen, kept = instructed_quote(listed(SHOWN, unable, REMOTE, LOCAL))
    assert (chosen.provider, kept["settle"], kept["fulfilment"]) == ("pinata", "after", "instructions")
    assert [row["provider"] for row in kept["all_quotes"]] == ["aws", "pinata", "openx402", "local"]
    with pytest.raises(GalaksioError):
        instructed_quote(listed(LOCAL))


class Quotes:
    """A quote service that always answers the same."""

    def __init__(self, found: QuoteList) -> None:
        self.found = found

    async def compare(self, path: str, ask: dict[str, Any]) -> QuoteList:
        return self.found

    async def forward(self, *_: Any) -> Any:
        raise Unavailable("not asked here")


def pricing(found: QuoteList, offers: OfferBook, **more: Any) -> Pricing:
    quotes: Any = Quotes(found)
    return Pricing(quotes, offers, 5000, **more)


async def test_instructions_cost_the_fee_alone_and_are_paid_after_they_are_given(offers: OfferBook) -> None:
    work = STORE.parse(b'{"data": "x", "options": {"fulfilment": "instructions"}}', {})
    offer = await pricing(FOUND, offers).offer(STORE, work, "hash")
    assert (offer.price_atomic, offer.settle, offer.provider) == (5000, "after", "openx402")
    by_default = await pricing(FOUND, offers, mode="instructions").offer(STORE, WORK, "other")
    assert by_default.price_atomic == 5000


async def test_who_asks_for_the_work_gets_it_where_instructions_are_usual(offers: OfferBook) -> None:
    work = STORE.parse(b'{"data": "x", "fulfilment": "execute"}', {})
    offer = await pricing(FOUND, offers, mode="instructions").offer(STORE, work, "hash")
    assert (offer.price_atomic, offer.settle) == (5100, "before")


async def test_a_top_up_is_always_work(offers: OfferBook) -> None:
    work = TOP_UP.parse(b"{}", {"cacheId": "rdxyz"})
    offer = await pricing(listed(LOCAL), offers, mode="instructions").offer(TOP_UP, work, "hash")
    assert offer.price_atomic == 5200
    with pytest.raises(BadRequest, match="only this host"):
        TOP_UP.parse(b'{"fulfilment": "instructions"}', {"cacheId": "rdxyz"})


@pytest.mark.parametrize(("good_s", "life_s"), [(3600, 300), (100, 100), (1, SHORTEST_MS / 1000), (-50, 30)])
async def test_an_offer_does_not_outlive_the_price_that_it_rests_on(
    offers: OfferBook, clock: FakeClock, good_s: int, life_s: int
) -> None:
    made = await offers.make(
        "hash", 1, {"provider": "x"}, 270, good_until_ms=int((clock.now + good_s) * 1000)
    )
    assert made.expires_at_ms - made.created_at_ms == life_s * 1000
    clock.now += life_s / 2
    assert await offers.current("hash") == made
    clock.now += 1
    assert await offers.current("hash") is None
    assert await offers.payable("hash", 1, None) == made
    clock.now += life_s / 2
    assert await offers.payable("hash", 1, None) is None


async def test_a_remote_price_ends_when_quote_says_so(offers: OfferBook, clock: FakeClock) -> None:
    soon = REMOTE.model_copy(update={"valid_until": "2027-01-15T08:01:40.000Z"})
    offer = await pricing(listed(soon), offers).offer(STORE, WORK, "hash")
    assert offer.expires_at_ms == int((clock.now + 100) * 1000)
    ours = LOCAL.model_copy(update={"valid_until": "2027-01-15T08:01:40.000Z"})
    offer = await pricing(listed(ours), offers).offer(STORE, WORK, "other")
    assert offer.expires_at_ms == int((clock.now + 300) * 1000)


async def test_what_was_priced_of_an_address_is_kept_whoever_named_the_price(offers: OfferBook) -> None:
    async def measure(_: str) -> Any:
        return type("Measured", (), {"size_bytes": 1234})()

    work = STORE.parse(b'{"data": {"url": "https://x.example/f"}}', {})
    offer = await pricing(FOUND, offers, measure=measure).offer(STORE, work, "hash")
    assert offer.quote["metadata"]["file_size_bytes"] == 1234


def test_the_mode_is_part_of_what_a_request_means() -> None:
    plain = CACHE.parse(b"{}", {}).meaning
    assert CACHE.parse(b'{"options": {}}', {}).meaning == plain
    assert CACHE.parse(b'{"options": {"fulfilment": "instructions"}}', {}).meaning != plain
    assert mode_of([1]) == ([1], None)
    for wrong in ("steal", 1, True, ["execute"], {"a": 1}):
        with pytest.raises(BadRequest, match="fulfilment must be"):
            mode_of({"options": {"fulfilment": wrong}})
