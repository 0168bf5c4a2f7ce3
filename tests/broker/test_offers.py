"""The price a client was told is the price it pays, until the offer ends."""

import httpx
import pytest

from broker.operations import RUN
from broker.payments.offers import OfferBook, request_hash
from broker.payments.pricing import Pricing
from broker.payments.terms import Terms
from shared.database import Database
from shared.errors import BadRequest, Unavailable
from shared.quotes import Quote, QuoteList
from tests.broker.conftest import FakeClock


class Market:
    """A quote service whose price moves when told to; `None` means nobody sells."""

    def __init__(self, price_atomic: int | None) -> None:
        self.price_atomic = price_atomic
        self.asked = 0

    async def forward(self, method: str, path: str) -> httpx.Response:
        rows = [{"name": "local", "kind": "compute", "status": "available"}]
        request = httpx.Request(method, f"http://quote.test{path}")
        return httpx.Response(200, json={"providers": rows, "count": 1}, request=request)

    async def compare(self, path: str, ask: dict[str, object]) -> QuoteList:
        self.asked += 1
        if self.price_atomic is None:
            return QuoteList(quotes=[], best=None, count=0)
        quote = Quote(
            provider="local",
            kind="compute",
            price_usd="0",
            price_atomic=self.price_atomic,
            network="base-sepolia",
            valid_until="2027-01-15T08:00:00Z",
        )
        return QuoteList(quotes=[quote], best=quote, count=1)


def body(**fields: str) -> bytes:
    import json

    return json.dumps({"code": "print(1)", **fields}).encode()


async def test_the_price_holds_while_the_market_moves(offers: OfferBook) -> None:
    market = Market(800)
    pricing = Pricing(market, offers, 5000)  # type: ignore[arg-type]
    work = RUN.parse(body(), {})
    first = await pricing.offer(RUN, work, "hash")
    market.price_atomic = 90_000
    assert await pricing.offer(RUN, work, "hash") == first
    assert first.price_atomic == 5800
    assert await offers.payable("hash", 5800, None) == first
    assert market.asked == 1


async def test_an_offer_is_renewed_before_it_gets_too_short_and_the_old_one_stays_payable(
    offers: OfferBook, clock: FakeClock
) -> None:
    market = Market(800)
    pricing = Pricing(market, offers, 5000)  # type: ignore[arg-type]
    work = RUN.parse(body(), {})
    first = await pricing.offer(RUN, work, "hash")
    market.price_atomic = 900
    clock.now += 200
    second = await pricing.offer(RUN, work, "hash")
    assert (first.price_atomic, second.price_atomic) == (5800, 5900)
    assert (await offers.payable("hash", 5800, None)) == first
    assert (await offers.payable("hash", 5900, second.id)) == second
    clock.now += 101
    assert await offers.payable("hash", 5800, None) is None


async def test_an_offer_is_for_one_request_amount_and_id(offers: OfferBook) -> None:
    offer = await offers.make("hash", 5800, {"provider": "local"}, 270)
    assert await offers.payable("hash", 5800, offer.id) == offer
    assert await offers.payable("other", 5800, offer.id) is None
    assert await offers.payable("hash", 5799, offer.id) is None
    assert await offers.payable("hash", 5800, "unknown") is None


async def test_another_broker_on_the_database_knows_the_offer(database: Database, clock: FakeClock) -> None:
    mine, theirs = OfferBook(database, clock, 300), OfferBook(database, clock, 300)
    offer = await mine.make("hash", 5800, {"provider": "local", "a": 1}, 270)
    assert await theirs.current("hash") == offer


async def test_expired_offers_are_swept_an_hour_later(offers: OfferBook, clock: FakeClock) -> None:
    await offers.make("hash", 5800, {"provider": "local"}, 270)
    clock.now += 300 + 3599
    assert await offers.sweep() == 0
    clock.now += 2
    assert await offers.sweep() == 1


async def test_nobody_selling_is_a_503_and_a_price_over_the_clients_limit_a_400(offers: OfferBook) -> None:
    pricing = Pricing(Market(None), offers, 5000)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="No providers available"):
        await pricing.offer(RUN, RUN.parse(body(), {}), "hash")
    pricing = Pricing(Market(800), offers, 5000)  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match="maxCostUsd"):
        await pricing.offer(RUN, RUN.parse(body(maxCostUsd="0.0057"), {}), "hash")


@pytest.mark.parametrize(
    "same", [{}, {"language": "py"}, {"language": "Python"}, {"timeout": 60}, {"size": "Medium"}]
)
def test_the_hash_is_of_the_meaning_not_of_the_spelling(same: dict[str, str]) -> None:
    plain = request_hash("POST", "/run", RUN.parse(body(), {}).meaning)
    assert request_hash("POST", "/run", RUN.parse(body(**same), {}).meaning) == plain


def test_the_hash_tells_requests_and_routes_apart() -> None:
    hashes = {
        request_hash("POST", "/run", RUN.parse(body(), {}).meaning),
        request_hash("POST", "/execute", RUN.parse(body(), {}).meaning),
        request_hash("POST", "/run", RUN.parse(body(stdin="x"), {}).meaning),
        request_hash("POST", "/run", RUN.parse(body(language="bash"), {}).meaning),
        request_hash("POST", "/run", RUN.parse(body(code="print(2)"), {}).meaning),
        request_hash("POST", "/run", RUN.parse(body(size="small"), {}).meaning),
        request_hash("POST", "/run", RUN.parse(body(size="large"), {}).meaning),
    }
    assert len(hashes) == 7


async def test_a_v2_echo_that_differs_from_the_offer_is_refused(offers: OfferBook, terms: Terms) -> None:
    offer = await offers.make("hash", 5800, {"provider": "local"}, 270)
    accepted = terms.v2(offer).model_dump(by_alias=True)
    terms.check_echo(accepted, offer)
    terms.check_echo({**accepted, "payTo": accepted["payTo"].lower(), "extra": {}}, offer)
    for field, value in [
        ("amount", "1"),
        ("payTo", "0x" + "99" * 20),
        ("asset", "0x" + "99" * 20),
        ("network", "eip155:8453"),
        ("scheme", "upto"),
        ("maxTimeoutSeconds", 9999),
        ("extra", {"requestHash": "0" * 64}),
        ("extra", {"name": "Fake"}),
    ]:
        with pytest.raises(BadRequest, match="accepted differs"):
            terms.check_echo({**accepted, field: value}, offer)
