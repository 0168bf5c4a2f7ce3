"""The stand-ins sell as stock x402 servers do: to a payer that knows nothing of them."""

from typing import Any

import httpx
import pytest

from tests.support.services import Stack
from tests.support.wallets import Wallet, funded_wallet, receipt_of
from tests.upstream import Upstreams
from tests.upstream.merit_systems import PATH
from tests.upstream.openx402 import cid_of
from tests.upstream.shop import Shop


@pytest.fixture
def wallet(chain: Stack) -> Wallet:
    return funded_wallet(chain.devnet)


def buy(shop: Shop, wallet: Wallet, method: str, path: str, **request: Any) -> httpx.Response:
    with httpx.Client(base_url=shop.url, timeout=20, trust_env=False, verify=False) as http:
        challenge = http.request(method, path, **request)
        assert challenge.status_code == 402, challenge.text
        pay = wallet.pay_v1 if shop.version == 1 else wallet.pay_v2
        return http.request(method, path, headers=pay(challenge), **request)


def test_each_stand_in_is_paid_to_the_unit_and_does_its_work(
    chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    bought = [
        buy(upstreams.xcache, wallet, "POST", "/create", json={"region": "eu-west-1"}),
        buy(upstreams.openx402, wallet, "POST", "/pin/json", json={"a": 1}),
        buy(upstreams.openx402, wallet, "POST", "/pin/file", files={"file": ("a.txt", b"hello")}),
        buy(upstreams.merit_systems, wallet, "POST", PATH, json={"snippet": "print(6 * 7)"}),
    ]
    assert [answer.status_code for answer in bought] == [200] * 4
    assert all(receipt_of(answer)["success"] for answer in bought)
    assert [shop.version for shop in upstreams.all] == [1, 2, 2]
    spent = upstreams.xcache.price + 2 * upstreams.openx402.price + upstreams.merit_systems.price
    assert chain.balance(wallet.address) == 100_000_000 - spent
    for shop in upstreams.all:
        assert chain.balance(shop.pay_to) == sum(paid.amount_atomic for paid in shop.settled)
    assert bought[0].json()["id"] in upstreams.xcache.caches
    assert upstreams.openx402.pinned[cid_of(b"hello")] == b"hello"
    assert bought[3].json()["output"] == "42\n"


def test_a_cache_that_was_bought_keeps_and_forgets(upstreams: Upstreams, wallet: Wallet) -> None:
    cache = buy(upstreams.xcache, wallet, "POST", "/create").json()["id"]
    with httpx.Client(base_url=upstreams.xcache.url, timeout=60, trust_env=False, verify=False) as http:
        assert http.put(f"/{cache}/k", json={"value": {"x": 1}, "ttl": 60}).json() == {
            "key": "k",
            "value": {"x": 1},
            "ttl": 60,
        }
        told = http.get(f"/{cache}/k/ttl").json()
        assert told == {"key": "k", "ttl": told["ttl"], "unit": "seconds"}
        assert 40 <= told["ttl"] <= 60
        assert http.put(f"/{cache}/k/ttl", json={"ttl": 90}).json() == {"key": "k", "ttl": 90}
        assert http.get(f"/{cache}").json()["keys"] == ["k"]
        assert http.delete(f"/{cache}/k").status_code == 200
        assert http.get(f"/{cache}/k").status_code == 404


def test_nothing_is_sold_to_a_payment_that_does_not_verify(
    chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.openx402.extra = {"name": "Somebody else", "version": "2"}
    answer = buy(upstreams.openx402, wallet, "POST", "/pin/json", json={"a": 1})
    assert (answer.status_code, upstreams.openx402.settled, upstreams.openx402.pinned) == (402, [], {})


def test_a_stand_in_dies_in_the_middle_and_comes_back_at_the_same_place(
    upstreams: Upstreams, wallet: Wallet
) -> None:
    shop = upstreams.merit_systems
    shop.die_when_paid = True
    with pytest.raises(httpx.TransportError):
        buy(shop, wallet, "POST", PATH, json={"snippet": "1"})
    with pytest.raises(httpx.ConnectError):
        httpx.post(shop.url + PATH, json={"snippet": "1"}, timeout=60, trust_env=False, verify=False)
    shop.die()
    shop.die_when_paid = False
    shop.start()
    assert buy(shop, wallet, "POST", PATH, json={"snippet": "print(1)"}).status_code == 200
