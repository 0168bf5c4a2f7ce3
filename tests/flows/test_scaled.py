"""Two brokers and two executors behind one address each, as `docker compose --scale` makes them: one host.

They share what compose lets them share: a Postgres, a Valkey and a folder. Connections go to one by turns.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest
from eth_account.messages import encode_defunct
from redis import Redis

from broker.payments.results import INLINE_BYTES
from tests.flows.test_cache import bearer, bought
from tests.flows.test_one_run_per_authorization import UNIQUE, check_one_run, ledger_rows
from tests.flows.test_paid_run import HELLO, price_of
from tests.flows.test_store import cid_of, store
from tests.support.relay import Relay, relaying
from tests.support.services import HOST_WALLET, Stack, running_stack
from tests.support.wallets import Wallet, funded_wallet

RUNS = 12
TOKEN = {"Authorization": "Bearer test-token"}
"""Of the services among themselves."""


@dataclass
class Scaled:
    """`door` stands for both brokers, `work` for both executors."""

    stack: Stack
    door: Relay
    work: Relay

    @property
    def brokers(self) -> list[str]:
        return self.door.targets


@pytest.fixture(scope="module")
def scaled(
    tmp_path_factory: pytest.TempPathFactory, new_postgres: Callable[[], str], valkey_url: str
) -> Iterator[Scaled]:
    with ExitStack() as opened:
        door, work = (opened.enter_context(relaying()) for _ in range(2))
        stack = opened.enter_context(
            running_stack(
                tmp_path_factory.mktemp("scaled"),
                brokers=2,
                DATABASE_URL=new_postgres(),
                REDIS_URL=valkey_url,
                EXECUTOR_SERVICE_URL=work.url,
                PUBLIC_BASE_URL=door.url,
            )
        )
        stack.launch("executor", "executor2").wait_ready()
        work.targets = [stack.url("executor"), stack.url("executor2")]
        door.targets = [stack.broker, stack.url("broker2")]
        yield Scaled(stack, door, work)


@pytest.fixture
def wallet(scaled: Scaled) -> Wallet:
    return funded_wallet(scaled.stack.devnet)


def at(url: str) -> httpx.Client:
    """A client that makes a new connection for each request, so that each may come to another server."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(base_url=url, timeout=90, trust_env=False, verify=False, limits=limits)


async def paid_run(url: str, wallet: Wallet, code: str) -> httpx.Response:
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=url, timeout=90, trust_env=False, limits=limits) as client:
        ask = {"code": code, "language": "bash"}
        challenge = await client.post("/run", json=ask)
        return await client.post("/run", json=ask, headers=wallet.pay_v2(challenge))


async def test_paid_runs_go_to_all_brokers_and_executors(scaled: Scaled, wallet: Wallet) -> None:
    # What a broker keeps open it uses again, so runs at the same time are what comes to both executors.
    answers = await asyncio.gather(
        *(paid_run(scaled.door.url, wallet, f"sleep 0.2; echo {number}") for number in range(RUNS))
    )
    assert [answer.status_code for answer in answers] == [200] * RUNS, [a.text for a in answers]
    assert [answer.json()["result"]["stdout"].strip() for answer in answers] == [str(n) for n in range(RUNS)]
    for relay in (scaled.door, scaled.work):
        assert set(relay.taken) == set(relay.targets)


async def test_one_authorization_at_both_brokers_is_one_run(scaled: Scaled, wallet: Wallet) -> None:
    await check_one_run(scaled.stack, [scaled.door.url], wallet, 2)


def test_a_price_told_by_one_broker_is_paid_at_the_other(scaled: Scaled, wallet: Wallet) -> None:
    one, other = scaled.brokers
    challenge = at(one).post("/run", json=UNIQUE)
    paid = at(other).post("/run", json=UNIQUE, headers=wallet.pay_v1(challenge))
    assert paid.status_code == 200, paid.text


def test_a_result_of_one_broker_is_given_again_by_the_other(scaled: Scaled, wallet: Wallet) -> None:
    """One that is too large for the ledger, so that it lies in the shared folder."""
    one, other = scaled.brokers
    ask = {"code": f"head -c {INLINE_BYTES} /dev/urandom > out/random", "language": "bash"}
    challenge = at(one).post("/run", json=ask)
    headers = wallet.pay_v2(challenge)
    first = at(one).post("/run", json=ask, headers=headers)
    assert first.status_code == 200, first.text
    assert len(first.content) > INLINE_BYTES
    again = at(other).post("/run", json=ask, headers=headers)
    assert (again.status_code, again.content) == (200, first.content)
    shown = at(other).get(f"/status/{first.json()['jobId']}").json()
    assert shown["result"] == first.json()["result"]
    assert scaled.stack.balance(wallet.address) == 100_000_000 - price_of(challenge)


def test_content_stored_through_one_is_had_from_the_other(scaled: Scaled, wallet: Wallet) -> None:
    one, other = scaled.brokers
    content = secrets.token_bytes(700_000)
    with at(one) as client:
        result = store(client, wallet, files={"file": ("a.bin", content)}, data={"ttl": "3600"})
    assert result["cid"] == cid_of(content)
    assert at(other).get(f"/files/{result['cid']}").content == content
    for executor in scaled.work.targets:
        assert at(executor).get(f"/files/{result['cid']}", headers=TOKEN).content == content


def test_an_upload_that_one_executor_took_is_stored_by_the_other(scaled: Scaled) -> None:
    content, job = secrets.token_bytes(300_000), secrets.token_hex(8)
    first, second = scaled.work.targets
    taken = at(first).put("/uploads", content=content, headers=TOKEN)
    assert taken.status_code == 201, taken.text
    task = {"jobId": job, "taskType": "store", "provider": "local", "upload": taken.json()["uploadId"]}
    done = at(second).post("/execute", json=task, headers=TOKEN)
    assert done.status_code == 200, done.text
    again = at(first).post("/execute", json=task, headers=TOKEN)
    assert again.json() == done.json()
    assert done.json()["result"]["cid"] == cid_of(content)
    for executor in (first, second):
        assert at(executor).get(f"/files/{cid_of(content)}", headers=TOKEN).content == content


def test_a_cache_bought_at_one_broker_is_used_at_the_other(scaled: Scaled, wallet: Wallet) -> None:
    one, other = scaled.brokers
    with at(one) as client:
        cache = bought(client, wallet, json={})
    path = f"/cache/{cache['cacheId']}"
    put = at(other).put(f"{path}/k", json={"value": [1, 2]}, headers=bearer(cache))
    assert put.status_code == 200, put.text
    assert at(one).get(f"{path}/k", headers=bearer(cache)).json()["value"] == [1, 2]
    assert at(scaled.door.url).get(f"{path}/k").status_code == 401


def test_a_sign_in_begun_at_one_broker_ends_at_the_other(scaled: Scaled, wallet: Wallet) -> None:
    one, other = scaled.brokers
    issued = at(one).post("/auth/nonce", json={"address": wallet.address}).json()
    signed = wallet.account.sign_message(encode_defunct(text=issued["message"])).signature
    proof = {"message": issued["message"], "signature": "0x" + bytes(signed).hex()}
    opened = at(other).post("/auth/verify", json=proof)
    assert opened.status_code == 200, opened.text
    session = {"Authorization": f"Bearer {opened.json()['token']}"}
    assert at(one).get("/payments", headers=session).json()["payments"] == []
    assert at(one).post("/auth/verify", json=proof).status_code == 401, "its nonce was used at the other"


def test_requests_are_counted_over_all_brokers(scaled: Scaled, valkey_url: str) -> None:
    with Redis.from_url(valkey_url) as redis:
        # Windows of their own: those from before may end, with their counts, just now.
        for key in redis.scan_iter("*galaksio/address/*"):
            redis.delete(key)
        before = counted(redis)
        for broker in scaled.brokers:
            for _ in range(3):
                assert at(broker).get("/").status_code == 200
        assert counted(redis) >= before + 6


def counted(redis: Redis) -> int:
    """Requests of ours in the windows of all limits by address."""
    return sum(int(redis.get(key) or 0) for key in redis.scan_iter("*galaksio/address/*"))


async def test_an_executor_that_is_killed_costs_nobody_anything(scaled: Scaled) -> None:
    stack = scaled.stack
    wallet = funded_wallet(stack.devnet)
    earned = stack.balance(HOST_WALLET)
    challenge = at(scaled.door.url).post("/run", json={"code": "sleep 2; echo 0", "language": "bash"})
    running = [
        asyncio.create_task(paid_run(scaled.door.url, wallet, f"sleep 2; echo {number}"))
        for number in range(6)
    ]
    async with asyncio.timeout(30):
        while len(states := await ledger_rows(stack, wallet)) < 6 or ("reserved", 6) in states:
            await asyncio.sleep(0.05)
    stack.processes["executor2"].kill()
    answers = await asyncio.gather(*running)
    sold = [answer for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} <= {200, 503}, [a.text for a in answers]
    assert sold, "the other executor went on"
    assert stack.balance(HOST_WALLET) - earned == len(sold) * price_of(challenge)
    assert stack.balance(wallet.address) == 100_000_000 - len(sold) * price_of(challenge)
    # From now on all work goes to the one that is left. Who asked when the other one died believes for a
    # moment that there is none.
    async with asyncio.timeout(20):
        while at(scaled.door.url).post("/run", json=HELLO).status_code != 402:
            await asyncio.sleep(0.1)
    after = await paid_run(scaled.door.url, wallet, "echo still here")
    assert (after.status_code, after.json()["result"]["stdout"]) == (200, "still here\n")
