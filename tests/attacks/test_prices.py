"""Prices that drift, and prices that are none."""

import json

import httpx
import pytest

from tests.attacks.neighbours import FEE_ATOMIC, PRICE_ATOMIC, quote_list
from tests.attacks.world import World, challenge_of, new_body, price_of
from tests.support.standin import DROPPED, Answer, always
from tests.support.wallets import Wallet


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("later", [PRICE_ATOMIC * 50, 1], ids=["rises", "falls"])
def test_the_price_that_was_told_is_paid_when_the_market(
    world: World, broker: httpx.Client, wallet: Wallet, later: int, version: int
) -> None:
    body = new_body()
    challenge = challenge_of(broker, body)
    world.quote.price_atomic = later
    assert price_of(challenge_of(broker, body)) == price_of(challenge) == PRICE_ATOMIC + FEE_ATOMIC
    headers = wallet.pay_v1(challenge) if version == 1 else wallet.pay_v2(challenge)
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    assert world.facilitator.moved(wallet.address) == [PRICE_ATOMIC + FEE_ATOMIC]
    world.assert_sold_once(wallet, body)


def test_a_price_told_by_one_broker_stands_at_the_other_after_the_market_moved(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers = wallet.pay_v1(challenge_of(broker, body))
    world.quote.price_atomic = PRICE_ATOMIC * 9
    with world.client("broker2") as second:
        assert second.post("/run", json=body, headers=headers).status_code == 200
    world.assert_sold_once(wallet, body)


NO_PRICES = {
    "0": b"0",
    "negative": b"-1200",
    "minus zero": b"-0",
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "minus Infinity": b"-Infinity",
    "a fraction": b"1200.5",
    "a whole float": b"1200.0",
    "an exponent": b"1e3",
    "out of all bounds": b"1e999",
    "a string": b'"1200"',
    "true": b"true",
    "null": b"null",
    "a list": b"[1200]",
    "over 64 bits": b"9223372036854775808",
    "over 64 bits with the fee": b"9223372036854775807",
    "of 5,000 digits": b"9" * 5_000,
}


@pytest.mark.parametrize("price", NO_PRICES)
def test_nothing_is_sold_when_quote_names_a_price_that_is(
    world: World, broker: httpx.Client, price: str
) -> None:
    body = new_body()
    answer = json.dumps(quote_list("PRICE")).encode().replace(b'"PRICE"', NO_PRICES[price])
    world.quote.on_quote = always(Answer(body=answer))
    response = broker.post("/run", json=body)
    assert response.status_code == 503, response.text
    assert "Retry-After" in response.headers
    assert "PAYMENT-REQUIRED" not in response.headers
    assert world.runs(body) == 0


BROKEN_QUOTES = {
    "drops the connection": DROPPED,
    "redirects": Answer(302, headers=(("Location", "/health"),)),
    "fails": Answer(500, b"Traceback (most recent call last)"),
    "answers in HTML": Answer(body=b"<html>"),
    "answers an empty object": Answer.of({}),
    "answers null": Answer.of(None),
    "answers 50,000 deep": Answer(body=b"[" * 50_000 + b"]" * 50_000),
    "answers in no encoding": Answer(body=b"\xff\xfe\x00"),
    "has nothing to sell": Answer.of({"quotes": [], "best": None, "count": 0, "declined": []}),
    "wants to be paid": Answer.of({"x402Version": 1, "accepts": []}, 402),
}


@pytest.mark.parametrize("fault", BROKEN_QUOTES)
def test_nothing_is_sold_when_quote(world: World, broker: httpx.Client, fault: str) -> None:
    body = new_body()
    world.quote.on_quote = always(BROKEN_QUOTES[fault])
    response = broker.post("/run", json=body)
    assert response.status_code == 503, response.text
    assert "Retry-After" in response.headers
    assert world.runs(body) == 0


def test_nothing_is_sold_when_quote_is_down(world: World, broker: httpx.Client) -> None:
    with world.quote.down():
        response = broker.post("/run", json=new_body())
    assert (response.status_code, response.json()["code"]) == (503, "quote_unavailable")


def test_a_told_price_can_be_paid_while_quote_is_down(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers = wallet.pay_v2(challenge_of(broker, body))
    with world.quote.down():
        assert broker.post("/run", json=body, headers=headers).status_code == 200
    world.assert_sold_once(wallet, body)


def test_a_price_that_cannot_be_bought_is_not_sold(world: World, broker: httpx.Client) -> None:
    """A comparison price (`executable` false) is no offer, though quote should call it the best."""
    shown = quote_list(10)
    shown["best"]["executable"] = False
    world.quote.on_quote = always(Answer.of(shown))
    assert broker.post("/run", json=new_body()).status_code == 503
