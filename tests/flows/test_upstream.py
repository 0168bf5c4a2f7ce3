"""Work that other people's providers do for real money of the devnet: both ledgers to the unit, no internet.

A customer pays the host; the executor pays a stand-in for xcache (x402 v1), openx402 or merit-systems (v2).
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from x402 import x402Client
from x402.http.clients import x402HttpxClient
from x402.mechanisms.evm.exact.register import register_exact_evm_client

from shared.breaker import FAILURES
from tests.support.ports import free_port
from tests.support.services import HOST_WALLET, Stack, running_stack
from tests.support.wallets import Wallet, funded_wallet, new_wallet, receipt_of
from tests.upstream import Upstreams, running_upstreams
from tests.upstream.shop import Shop

FEE_ATOMIC = 5_000
PYTHON = {"language": "python", "size": "small"}


@dataclass
class Clouds:
    """A stack whose own work is dear, the providers that are cheaper, and the executor's purse."""

    stack: Stack
    upstreams: Upstreams
    executor: Wallet
    http: httpx.Client

    def quote(self, operation: str, **ask: Any) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.stack.url('quote')}/quote/{operation}",
            json=ask,
            headers={"Authorization": "Bearer test-token"},
            trust_env=False,
            timeout=30,
        )
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def spent_rows(self, job_id: str) -> list[tuple[str, str, int]]:
        """Provider, state and amount of the executor's payments for a job."""
        with closing(sqlite3.connect(self.stack.home / "upstream.sqlite", timeout=60)) as database:
            return database.execute(
                "SELECT provider, state, amount_atomic FROM upstream_payments WHERE job_id = ?", (job_id,)
            ).fetchall()

    def sold_rows(self, job_id: str) -> list[tuple[str, str, int]]:
        """State, policy and amount of the customer's payments for a job."""
        with closing(sqlite3.connect(self.stack.home / "broker.sqlite", timeout=60)) as database:
            return database.execute(
                "SELECT state, settle, amount_atomic FROM payments WHERE job_id = ?", (job_id,)
            ).fetchall()

    def owed(self, job_id: str) -> list[tuple[str, int]]:
        with closing(sqlite3.connect(self.stack.home / "broker.sqlite", timeout=60)) as database:
            return database.execute(
                "SELECT state, amount_atomic FROM refunds WHERE job_id = ?", (job_id,)
            ).fetchall()

    def purses(self, customer: Wallet, shop: Shop) -> tuple[int, int, int, int]:
        """What customer, host, executor and provider have on the chain."""
        addresses = (customer.address, HOST_WALLET, self.executor.address, shop.pay_to)
        balances = [self.stack.balance(address) for address in addresses]
        return balances[0], balances[1], balances[2], balances[3]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Clouds]:
    port, executor = free_port(), new_wallet()
    with running_upstreams(f"http://127.0.0.1:{port}") as upstreams:
        settings = {
            **upstreams.settings,
            "EXECUTOR_PRIVATE_KEY": executor.key,
            "REDIS_URL": valkey_url,
            "QUOTE_CACHE_TTL_S": "1",
            "EXECUTOR_LEASE_S": "2",
            "PRICE_RUN_BASE_ATOMIC": "20000",
            "PRICE_STORE_BASE_ATOMIC": "20000",
            "PRICE_CACHE_ATOMIC": "20000",
        }
        home = tmp_path_factory.mktemp("clouds")
        with running_stack(home, devnet_port=port, **settings) as stack:
            httpx.post(
                f"{stack.devnet}/faucet", json={"address": executor.address}, trust_env=False, timeout=60
            )
            stack.processes["executor"].stop()  # it looks into its purse when it starts
            stack.launch("executor").wait_ready()
            with httpx.Client(base_url=stack.broker, timeout=90, trust_env=False) as http:
                yield Clouds(stack, upstreams, executor, http)


@pytest.fixture
def clouds(running: Clouds) -> Iterator[Clouds]:
    """All providers are well, and everybody knows it."""
    for shop in running.upstreams.all:
        shop.answer_402_again = shop.fail_before_settling = shop.fail_after_payment = False
        shop.cut_after_payment, shop.die_when_paid, shop.remembers, shop.hang_s = 0, False, False, 0.0
        shop.die()
        shop.start()
    running.upstreams.merit_systems.price = 2_500
    until(lambda: running.quote("run", **PYTHON)["best"]["provider"] == "merit-systems", "it is well again")
    yield running


@pytest.fixture
def customer(clouds: Clouds) -> Wallet:
    return funded_wallet(clouds.stack.devnet)


def until(true: Any, what: str, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.1)


def paid(
    clouds: Clouds, customer: Wallet, path: str, version: int = 2, status: int = 200, **request: Any
) -> httpx.Response:
    challenge = clouds.http.post(path, **request)
    assert challenge.status_code == 402, challenge.text
    headers = customer.pay_v1(challenge) if version == 1 else customer.pay_v2(challenge)
    answer = clouds.http.post(path, headers=headers, **request)
    assert answer.status_code == status, answer.text
    return answer


def code(text: str, **more: Any) -> dict[str, Any]:
    return {**PYTHON, "code": text, **more}


@pytest.mark.parametrize("version", [1, 2])
def test_a_run_by_the_cheapest_cloud_moves_every_unit_where_it_belongs(
    clouds: Clouds, customer: Wallet, version: int
) -> None:
    merit = clouds.upstreams.merit_systems
    before = clouds.purses(customer, merit)
    answer = paid(clouds, customer, "/run", version, json=code(f"print(6 * 7, {version})"))
    done = answer.json()
    assert (done["provider"], done["price_usd"]) == ("merit-systems", "0.0075")
    assert done["result"]["stdout"] == f"42 {version}\n"
    price = 2_500 + FEE_ATOMIC
    moved = tuple(now - then for now, then in zip(clouds.purses(customer, merit), before, strict=True))
    assert moved == (-price, price, -2_500, 2_500)
    assert clouds.sold_rows(done["jobId"]) == [("settled", "before", price)]
    assert clouds.spent_rows(done["jobId"]) == [("merit-systems", "paid", 2_500)]
    assert receipt_of(answer)["success"] is True
    upstream = done["result"]["upstream"]
    assert upstream["transaction"] == merit.settled[-1].transaction
    assert merit.settled[-1].payer.lower() == clouds.executor.address.lower()


def test_the_comparison_says_why_the_others_were_not_chosen(clouds: Clouds) -> None:
    found = clouds.quote("run", **PYTHON)
    assert (found["best"]["provider"], found["best"]["settle"]) == ("merit-systems", "before")
    (local,) = [row for row in found["quotes"] if row["provider"] == "local"]
    assert "more than merit-systems" in local["not_chosen"]
    shell = clouds.quote("run", language="bash")
    assert shell["best"]["provider"] == "local"
    assert "merit-systems" in {row["provider"] for row in shell["declined"]}


def test_a_cache_is_bought_at_xcache_over_v1_and_used_at_the_broker(clouds: Clouds, customer: Wallet) -> None:
    xcache = clouds.upstreams.xcache
    before = clouds.purses(customer, xcache)
    done = paid(clouds, customer, "/cache", json={"region": "eu-west-1"}).json()
    cache = done["result"]
    assert (done["provider"], cache["region"], cache["operations"]) == ("xcache", "eu-west-1", 50_000)
    moved = tuple(now - then for now, then in zip(clouds.purses(customer, xcache), before, strict=True))
    assert moved == (-10_000 - FEE_ATOMIC, 10_000 + FEE_ATOMIC, -10_000, 10_000)
    assert clouds.spent_rows(done["jobId"]) == [("xcache", "paid", 10_000)]
    mine = {"headers": {"Authorization": f"Bearer {cache['token']}"}}
    at = f"/cache/{cache['cacheId']}"
    value = {"deep": [1, "é", None]}
    assert clouds.http.put(f"{at}/k", json={"value": value, "ttl": 60}, **mine).status_code == 200
    assert clouds.http.get(f"{at}/k", **mine).json()["value"] == value
    assert clouds.http.get(at, **mine).json()["keys"] == ["k"]
    assert clouds.http.get(f"{at}/k/ttl", **mine).json()["ttl"] <= 60
    assert clouds.http.delete(f"{at}/k", **mine).status_code == 200
    assert clouds.http.get(f"{at}/k", **mine).status_code == 404
    assert clouds.http.get(f"{at}/k").status_code == 401


@pytest.mark.parametrize("kind", ["json", "file"])
def test_content_is_pinned_at_openx402(clouds: Clouds, customer: Wallet, kind: str) -> None:
    openx402 = clouds.upstreams.openx402
    before = clouds.purses(customer, openx402)
    content = json.dumps({"n": time.time()}).encode() if kind == "json" else bytes(range(256)) * 4000
    request: dict[str, Any] = (
        {"json": {"data": content.decode(), "filename": "n.json"}}
        if kind == "json"
        else {"files": {"file": ("b.bin", content)}}
    )
    done = paid(clouds, customer, "/store", **request).json()
    result = done["result"]
    assert (done["provider"], result["size"]) == ("openx402", len(content))
    assert (
        json.loads(openx402.pinned[result["cid"]]) == json.loads(content)
        if kind == "json"
        else (openx402.pinned[result["cid"]] == content)
    )
    assert result["url"] == f"https://gateway.pinata.cloud/ipfs/{result['cid']}"
    moved = tuple(now - then for now, then in zip(clouds.purses(customer, openx402), before, strict=True))
    assert moved == (-10_000 - FEE_ATOMIC, 10_000 + FEE_ATOMIC, -10_000, 10_000)


def test_the_next_does_the_work_of_one_that_dies_as_it_is_paid(clouds: Clouds, customer: Wallet) -> None:
    merit = clouds.upstreams.merit_systems
    before = clouds.purses(customer, merit)
    merit.die_when_paid = True
    done = paid(clouds, customer, "/run", json=code("print('still here')")).json()
    assert (done["provider"], done["result"]["stdout"]) == ("local", "still here\n")
    price = 2_500 + FEE_ATOMIC
    moved = tuple(now - then for now, then in zip(clouds.purses(customer, merit), before, strict=True))
    assert moved == (-price, price, 0, 0)
    assert clouds.sold_rows(done["jobId"]) == [("settled", "before", price)]
    (row,) = clouds.spent_rows(done["jobId"])
    assert row == ("merit-systems", "unknown", 2_500), "what may have been paid counts as paid"
    assert clouds.owed(done["jobId"]) == []


def test_a_named_provider_that_takes_the_money_and_fails_is_a_refund_owed(
    clouds: Clouds, customer: Wallet
) -> None:
    merit = clouds.upstreams.merit_systems
    merit.fail_after_payment = True
    body = code("print('never')", provider="merit-systems")
    challenge = clouds.http.post("/run", json=body)
    headers = customer.pay_v2(challenge)
    for _ in range(2):
        failed = clouds.http.post("/run", json=body, headers=headers)
        assert (failed.status_code, failed.json()["code"]) == (502, "refund_owed")
    job_id = failed.json()["jobId"]
    assert clouds.owed(job_id) == [("owed", 2_500 + FEE_ATOMIC)]
    ((_, state, spent),) = clouds.spent_rows(job_id)
    assert (state in {"paid", "unknown"}, spent) == (True, 2_500)


def test_a_provider_that_wants_more_than_it_said_gets_nothing(clouds: Clouds, customer: Wallet) -> None:
    merit = clouds.upstreams.merit_systems
    body = code("print('dear')")
    challenge = clouds.http.post("/run", json=body)
    merit.price = 2_501
    before = clouds.purses(customer, merit)
    done = clouds.http.post("/run", json=body, headers=customer.pay_v2(challenge)).json()
    assert (done["provider"], done["result"]["stdout"]) == ("local", "dear\n")
    moved = tuple(now - then for now, then in zip(clouds.purses(customer, merit), before, strict=True))
    assert moved == (-7_500, 7_500, 0, 0)
    assert clouds.spent_rows(done["jobId"]) == []


def test_twenty_at_once_are_twenty_orders_and_no_unit_is_lost(clouds: Clouds, customer: Wallet) -> None:
    merit = clouds.upstreams.merit_systems
    before = clouds.purses(customer, merit)

    def one(number: int) -> str:
        return str(paid(clouds, customer, "/run", json=code(f"print({number})")).json()["result"]["stdout"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(20))) == [f"{number}\n" for number in range(20)]
    moved = tuple(now - then for now, then in zip(clouds.purses(customer, merit), before, strict=True))
    assert moved == (-150_000, 150_000, -50_000, 50_000)


def test_an_executor_killed_while_it_waits_for_the_provider_pays_it_once(
    clouds: Clouds, customer: Wallet
) -> None:
    merit = clouds.upstreams.merit_systems
    merit.remembers, merit.hang_s = True, 6.0
    before, settled = clouds.purses(customer, merit), len(merit.settled)
    body = code("print('once')", provider="merit-systems")
    headers = customer.pay_v2(clouds.http.post("/run", json=body))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(clouds.http.post, "/run", json=body, headers=headers)
        until(lambda: len(merit.settled) > settled, "the provider is paid")
        clouds.stack.processes["executor"].kill()
        merit.hang_s = 0.0
        clouds.stack.launch("executor").wait_ready()
        first = answer.result()
    if first.status_code == 202:
        until(
            lambda: clouds.http.get(first.headers["Location"]).json()["status"] == "completed", "it is done"
        )
        first = clouds.http.post("/run", json=body, headers=headers)
    assert (first.status_code, first.json()["result"]["stdout"]) == (200, "once\n")
    moved = tuple(now - then for now, then in zip(clouds.purses(customer, merit), before, strict=True))
    assert moved == (-7_500, 7_500, -2_500, 2_500)
    assert clouds.spent_rows(first.json()["jobId"]) == [("merit-systems", "paid", 2_500)]


async def test_instructions_are_enough_for_a_stock_client_to_buy_the_work_itself(
    clouds: Clouds, customer: Wallet
) -> None:
    merit = clouds.upstreams.merit_systems
    before = clouds.purses(customer, merit)
    body = code("print('myself')", options={"fulfilment": "instructions"})
    told = paid(clouds, customer, "/run", json=body).json()
    assert (told["status"], told["provider"], told["price_usd"]) == (
        "instructions_provided",
        "merit-systems",
        "0.0025",
    )
    request = told["instructions"]["request"]
    payer = x402Client()
    register_exact_evm_client(payer, customer.account)
    async with x402HttpxClient(payer, timeout=30) as client:
        answer = await client.request(request["method"], request["url"], json={"snippet": "print('myself')"})
    assert answer.json()["output"] == "myself\n"
    moved = tuple(now - then for now, then in zip(clouds.purses(customer, merit), before, strict=True))
    assert moved == (-FEE_ATOMIC - 2_500, FEE_ATOMIC, 0, 2_500)


def test_one_that_keeps_failing_is_neither_paid_nor_offered(clouds: Clouds, customer: Wallet) -> None:
    """The last test of these clouds: merit-systems rests for half a minute after it."""
    merit = clouds.upstreams.merit_systems
    merit.fail_after_payment = True
    challenges = [clouds.http.post("/run", json=code(f"print({number})")) for number in range(FAILURES + 1)]
    for number, challenge in enumerate(challenges):
        body, headers = code(f"print({number})"), customer.pay_v2(challenge)
        done = clouds.http.post("/run", json=body, headers=headers).json()
        assert (done["provider"], done["result"]["stdout"]) == ("local", f"{number}\n")
        paid_rows = clouds.spent_rows(done["jobId"])
        assert len(paid_rows) == (1 if number < FAILURES else 0), "the last one was not paid for in vain"
    until(lambda: clouds.quote("run", **PYTHON)["best"]["provider"] == "local", "it is not offered")
    (row,) = [row for row in clouds.quote("run", **PYTHON)["quotes"] if row["provider"] == "merit-systems"]
    assert "kept failing" in json.dumps(row)


def test_an_empty_purse_sells_nothing_of_others(tmp_path: Path) -> None:
    port = free_port()
    with running_upstreams(f"http://127.0.0.1:{port}") as upstreams:
        settings = {
            **upstreams.settings,
            "EXECUTOR_PRIVATE_KEY": new_wallet().key,
            "PRICE_RUN_BASE_ATOMIC": "20000",
        }
        with running_stack(tmp_path / "poor", devnet_port=port, **settings) as stack:
            url = f"{stack.broker}/quote/run"

            def asked() -> Any:
                return httpx.post(url, json=PYTHON, trust_env=False, timeout=30).json()

            # An executor that came up before the chain did looks again after half a minute.
            until(lambda: asked()["best"]["provider"] == "local", "it is seen that the purse is empty")
            answer = asked()
    assert answer["best"]["provider"] == "local"
    (shown,) = [row for row in answer["quotes"] if row["provider"] == "merit-systems"]
    assert shown["executable"] is False
    assert shown["refusal"]["code"] == "executor_funds"
