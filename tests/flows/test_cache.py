"""The paid cache, end to end: bought, used by two protocols, used up, and bought more of."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from x402 import x402Client
from x402.http.clients import x402HttpxClient
from x402.mechanisms.evm.exact.register import register_exact_evm_client

from tests.flows.old_client import needs_old_client, paid_by_old_client
from tests.flows.test_paid_run import price_of
from tests.support.services import Stack, running_stack
from tests.support.wallets import Wallet, funded_wallet, receipt_of


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Stack]:
    """One that sells caches, on a real Valkey."""
    with running_stack(tmp_path_factory.mktemp("caches"), REDIS_URL=valkey_url) as running:
        yield running


def bought(http: httpx.Client, wallet: Wallet, path: str = "/cache", **request: Any) -> dict[str, Any]:
    challenge = http.post(path, **request)
    assert challenge.status_code == 402, challenge.text
    answer = http.post(path, headers=wallet.pay_v2(challenge), **request)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()["result"]
    return result


def bearer(cache: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {cache['token']}"}


def use_up(valkey_url: str, cache: dict[str, Any], left: int = 0) -> None:
    with Redis.from_url(valkey_url) as redis:
        redis.hset(f"{{{cache['cacheId']}}}:m", "left", str(left))


async def test_the_packages_v2_client_buys_a_cache_and_goes_on_when_it_is_used_up(
    stack: Stack, wallet: Wallet, valkey_url: str
) -> None:
    before = stack.balance(wallet.address)
    payer = x402Client()
    register_exact_evm_client(payer, wallet.account)
    async with x402HttpxClient(payer, base_url=stack.broker, timeout=90) as client:
        response = await client.post("/cache", json={"region": "eu-west-1", "ttl": 3600})
        assert response.status_code == 200, response.text
        body = response.json()
        cache = body["result"]
        assert (cache["region"], cache["operations"], cache["provider"]) == ("eu-west-1", 50_000, "redis")
        assert cache["expiresAt"] is not None
        assert cache["endpoint"] == f"{stack.broker}/cache/{cache['cacheId']}"
        spent = before - stack.balance(wallet.address)
        assert spent == round(float(body["price_usd"]) * 1e6) > 0
        url = f"{cache['endpoint']}/user:123"
        put = await client.put(url, json={"value": {"name": "Alice"}}, headers=bearer(cache))
        assert put.status_code == 200, put.text
        use_up(valkey_url, cache)
        # An ordinary client of x402 pays the 402 and sends the same request again.
        again = await client.get(url, headers=bearer(cache))
    assert again.status_code == 200, again.text
    assert again.json() == {"key": "user:123", "value": {"name": "Alice"}, "ttl": None}
    assert receipt_of(again)["success"] is True
    assert before - stack.balance(wallet.address) == 2 * spent


@needs_old_client
def test_an_old_v1_client_buys_a_cache(stack: Stack, wallet: Wallet, http: httpx.Client) -> None:
    cache = paid_by_old_client(stack, "/cache", wallet, {"region": "us-east-1"})["result"]
    said = http.post(cache["endpoint"], json=["SET", "k", "v"], headers=bearer(cache))
    assert said.json() == {"result": "OK"}


def test_the_token_is_told_to_the_payer_each_time_and_to_nobody_else(
    stack: Stack, wallet: Wallet, http: httpx.Client, valkey_url: str
) -> None:
    challenge = http.post("/cache", json={})
    headers = wallet.pay_v1(challenge)
    first = http.post("/cache", json={}, headers=headers)
    assert first.status_code == 200, first.text
    token = first.json()["result"]["token"]
    assert http.post("/cache", json={}, headers=headers).content == first.content
    shown = http.get(f"/status/{first.json()['jobId']}")
    assert shown.json()["result"]["cacheId"] == first.json()["result"]["cacheId"]
    assert token not in shown.text
    for folder, _, names in os.walk(stack.home):
        for path in (Path(folder, name) for name in names):
            with suppress(FileNotFoundError):  # the services go on, and remove files of theirs
                if path.is_file() and path.stat().st_size < 50_000_000:
                    assert token.encode() not in path.read_bytes(), path
    with Redis.from_url(valkey_url) as redis:
        for key in redis.scan_iter("*"):
            # Nothing where its time is over by now, as of a count of requests.
            assert token.encode() not in (redis.dump(key) or b"")


def test_a_cache_opens_to_its_own_token_only(http: httpx.Client, wallet: Wallet) -> None:
    one, other = bought(http, wallet, json={}), bought(http, wallet, json={})
    assert http.put(f"{one['endpoint']}/k", json={"value": 1}, headers=bearer(one)).status_code == 200
    for headers in ({}, bearer(other), {"Authorization": "Bearer gx_"}):
        answer = http.get(f"{one['endpoint']}/k", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert http.get(f"{other['endpoint']}/k", headers=bearer(other)).status_code == 404


def test_more_operations_are_bought_by_anybody_and_come_once(
    stack: Stack, http: httpx.Client, wallet: Wallet, valkey_url: str
) -> None:
    cache = bought(http, wallet, json={})
    path = f"/cache/{cache['cacheId']}/topup"
    assert bought(http, wallet, path)["operations"] == 100_000
    benefactor = funded_wallet(stack.devnet)
    challenge = http.post(path, json={"operations": 60_000})
    assert price_of(challenge) > price_of(http.post(path))
    headers = benefactor.pay_v2(challenge)
    with ThreadPoolExecutor(20) as threads:
        answers = list(
            threads.map(lambda _: http.post(path, json={"operations": 60_000}, headers=headers), range(20))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["result"]["added"] for answer in answers} == {100_000}
    assert http.get(cache["endpoint"], headers=bearer(cache)).json()["operations"] == 199_999
    assert 100_000_000 - stack.balance(benefactor.address) == price_of(challenge)


def test_nothing_is_sold_for_a_cache_that_is_not_there(http: httpx.Client) -> None:
    for cache_id in ("rd" + "A" * 22, "nonsense"):
        answer = http.post(f"/cache/{cache_id}/topup")
        assert answer.status_code in {404, 503}, answer.text
        assert "accepts" not in answer.json()


def test_a_used_up_cache_does_nothing_until_it_is_paid_for(
    stack: Stack, http: httpx.Client, wallet: Wallet, valkey_url: str
) -> None:
    cache = bought(http, wallet, json={})
    url = f"{cache['endpoint']}/k"
    http.put(url, json={"value": "before"}, headers=bearer(cache))
    use_up(valkey_url, cache)
    over = http.put(url, json={"value": "after"}, headers=bearer(cache))
    assert (over.status_code, over.json()["code"]) == (402, "operations_used_up")
    assert over.json()["accepts"][0]["resource"] == f"{stack.broker}/cache/{cache['cacheId']}/topup"
    # A payment with the wrong token buys nothing.
    before = stack.balance(wallet.address)
    paid = wallet.pay_v1(over)
    assert http.put(url, json={"value": "x"}, headers=paid).status_code == 401
    assert stack.balance(wallet.address) == before
    done = http.post(cache["endpoint"], json=["GET", "k"], headers={**bearer(cache), **paid})
    assert done.json() == {"result": "before"}
    assert receipt_of(done)["success"] is True
    assert stack.balance(wallet.address) == before - price_of(over)
