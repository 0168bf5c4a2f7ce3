"""A full executor: nobody is told a price, nobody is charged, and no payment is spoilt."""

import time
from collections.abc import Iterator

import httpx
import pytest
from x402.http.utils import decode_payment_required_header

from broker.payments.admission import FRESH_S
from tests.attacks.facilitator import success_of
from tests.attacks.world import World, challenge_of, new_body, price_of, wait_until
from tests.support.standin import Answer, always
from tests.support.wallets import Wallet

FULL = {"code": "executor_busy", "reason": "the executor takes no further work now", "retry_after_s": 7}
BUSY = {"jobId": "x", "status": "failed", "error": "All 2 slots are busy.", "code": "executor_busy"}


@pytest.fixture(scope="module", autouse=True)
def leave_no_word_of_it() -> Iterator[None]:
    """A broker believes for half a second that the executor is full: other modules do not ask it then."""
    yield
    time.sleep(FRESH_S + 0.1)


def offer_of(challenge: httpx.Response) -> object:
    """The id of the offer in a 402."""
    required = decode_payment_required_header(challenge.headers["PAYMENT-REQUIRED"])
    return required.accepts[0].extra["quoteId"]


def status_of(broker: httpx.Client, body: dict[str, object]) -> int:
    return broker.post("/run", json=body).status_code


def test_a_full_executor_is_a_503_before_any_402_and_the_told_price_comes_back(
    world: World, broker: httpx.Client
) -> None:
    body = new_body()
    told = price_of(challenge_of(broker, body))
    world.quote.refusal = FULL
    wait_until(lambda: status_of(broker, body) == 503, "the broker hears that the executor is full")
    for asked in (body, new_body(size="large")):
        refused = broker.post("/run", json=asked)
        assert (refused.status_code, refused.json()["code"]) == (503, "executor_busy")
        assert refused.headers["Retry-After"] == "7"
        assert "PAYMENT-REQUIRED" not in refused.headers
        assert "accepts" not in refused.json()
    assert broker.post("/run", content=b"").status_code == 402, "crawlers still learn the starting price"
    world.quote.be_honest()
    wait_until(lambda: status_of(broker, body) == 402, "the broker hears that there is room again")
    assert price_of(challenge_of(broker, body)) == told


@pytest.mark.parametrize("version", [1, 2])
def test_a_payment_that_meets_a_full_executor_costs_nothing_and_works_later(
    world: World, broker: httpx.Client, wallet: Wallet, version: int
) -> None:
    body = new_body()
    challenge = challenge_of(broker, body)
    headers = wallet.pay_v1(challenge) if version == 1 else wallet.pay_v2(challenge)
    world.quote.refusal = FULL
    world.executor.on_execute = always(Answer.of(BUSY, 503, headers=(("Retry-After", "3"),)))
    time.sleep(0.6)  # the broker has heard it
    for _ in range(2):
        refused = broker.post("/run", json=body, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (503, "executor_busy")
        assert int(refused.headers["Retry-After"]) >= 1
        assert "PAYMENT-REQUIRED" not in refused.headers
        world.assert_free_of_charge(wallet)
    world.be_honest()
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    assert world.facilitator.moved(wallet.address) == [price_of(challenge)]
    assert world.states(wallet) == ["settled"]


@pytest.mark.parametrize("code", ["size_unavailable", "runtime_unavailable"])
def test_what_is_never_done_here_is_a_400_before_any_402(
    world: World, broker: httpx.Client, code: str
) -> None:
    world.quote.refusal = {"code": code, "reason": "not on this machine", "retry_after_s": None}
    refused = broker.post("/run", json=new_body(size="large"))
    assert (refused.status_code, refused.json()["code"]) == (400, code)
    assert "Retry-After" not in refused.headers
    assert "PAYMENT-REQUIRED" not in refused.headers


def test_a_payment_for_a_small_run_buys_no_large_one(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    small = new_body(size="small")
    large = {**small, "size": "large"}
    headers = wallet.pay_v1(challenge_of(broker, small))
    refused = broker.post("/run", json=large, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (402, "offer_expired")
    world.assert_nothing_sold(wallet, large)


@pytest.mark.parametrize("size", ["huge", "", None, 1024, ["small"], {"small": 1}])
def test_a_size_that_is_none_is_a_400_that_lists_them(broker: httpx.Client, size: object) -> None:
    refused = broker.post("/run", json=new_body(size=size))
    assert (refused.status_code, refused.json()["code"]) == (400, "unknown_size")
    assert "small, medium, large" in refused.json()["error"]


def test_a_withheld_result_can_be_paid_for_while_the_executor_is_full(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    world.facilitator.on_settle = lambda asked: Answer.of(
        success_of(asked, success=False, transaction="", errorReason="insufficient_funds")
    )
    told = challenge_of(broker, body)
    first = wallet.pay_v2(told)
    assert broker.post("/run", json=body, headers=first).status_code == 402
    world.facilitator.on_settle = None
    world.quote.refusal = FULL
    wait_until(lambda: status_of(broker, body) == 503, "the broker hears that the executor is full")
    again = broker.post("/run", json=body, headers=first)
    assert (again.status_code, again.json()["code"]) == (402, "insufficient_funds")
    assert offer_of(again) == offer_of(told), "the price that was told stands"
    paid = broker.post("/run", json=body, headers=wallet.pay_v1(again))
    assert (paid.status_code, world.runs(body)) == (200, 1)
