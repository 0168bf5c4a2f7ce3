"""Fifty uses of one authorization at once: one run, one settlement, in one broker and in two."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from shared.database import Database, database_url
from tests.support.ports import free_port
from tests.support.services import HOST_WALLET, READY_S, Stack, running_stack
from tests.support.wallets import Wallet, funded_wallet, receipt_of

PARALLEL = 50
STARTED = "Application startup complete"
"""What uvicorn says of each worker."""
UNIQUE = {"code": "import os, time; time.sleep(0.3); print(os.urandom(16).hex())"}
LONG = {"code": "import os, time; time.sleep(4); print(os.urandom(16).hex())"}
"""Long enough to be seen running, however busy the machine is."""


async def send_all(urls: list[str], path: str, headers: dict[str, str]) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=PARALLEL)
    async with httpx.AsyncClient(timeout=90, trust_env=False, verify=False, limits=limits) as client:
        return await asyncio.gather(
            *(
                client.post(urls[number % len(urls)] + path, json=UNIQUE, headers=headers)
                for number in range(PARALLEL)
            )
        )


async def check_one_run(stack: Stack, brokers: list[str], wallet: Wallet, version: int) -> None:
    challenge = httpx.post(brokers[0] + "/run", json=UNIQUE, timeout=60, trust_env=False, verify=False)
    price = int(challenge.json()["accepts"][0]["maxAmountRequired"])
    headers = wallet.pay_v1(challenge) if version == 1 else wallet.pay_v2(challenge)
    payer_before, host_before = stack.balance(wallet.address), stack.balance(HOST_WALLET)
    responses = await send_all(brokers, "/run", headers)
    assert {response.status_code for response in responses} == {200}, [r.text for r in responses][:3]
    assert len({response.json()["result"]["stdout"] for response in responses}) == 1
    assert len({response.json()["jobId"] for response in responses}) == 1
    assert len({receipt_of(response)["transaction"] for response in responses}) == 1
    assert payer_before - stack.balance(wallet.address) == price
    assert stack.balance(HOST_WALLET) - host_before == price
    assert await ledger_rows(stack, wallet) == [("settled", 1)]


async def ledger_rows(stack: Stack, wallet: Wallet) -> list[tuple[str, int]]:
    """The states of this wallet's payments, and how many jobs each has."""
    query = text(
        "SELECT p.state, COUNT(j.id) FROM payments p JOIN jobs j ON j.requester = p.payer"
        " WHERE p.payer = :payer GROUP BY p.id, p.state"
    )

    database = Database(database_url(stack.environment.get("DATABASE_URL"), stack.home / "broker.sqlite"))
    payer = {"payer": wallet.address.lower()}
    rows = await database.read(lambda connection: connection.execute(query, payer).all())
    await database.close()
    return [(row[0], row[1]) for row in rows]


@pytest.mark.parametrize("version", [1, 2])
async def test_fifty_parallel_requests_with_one_authorization_run_once(
    stack: Stack, wallet: Wallet, version: int
) -> None:
    await check_one_run(stack, [stack.broker], wallet, version)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def two_brokers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    more = {}
    if request.param == "postgres":
        more["DATABASE_URL"] = request.getfixturevalue("new_postgres")()
    with running_stack(tmp_path_factory.mktemp("two"), brokers=2, **more) as running:
        yield running


@pytest.mark.parametrize("version", [1, 2])
async def test_fifty_parallel_requests_over_two_broker_processes_run_once(
    two_brokers: Stack, version: int
) -> None:
    brokers = [two_brokers.broker, two_brokers.url("broker2")]
    await check_one_run(two_brokers, brokers, funded_wallet(two_brokers.devnet), version)


def test_an_offer_made_by_one_broker_is_paid_at_another(two_brokers: Stack) -> None:
    wallet = funded_wallet(two_brokers.devnet)
    body = {"code": "print('two doors')"}
    challenge = httpx.post(two_brokers.broker + "/run", json=body, timeout=60, trust_env=False, verify=False)
    for pay in (wallet.pay_v1, wallet.pay_v2):
        paid = httpx.post(
            two_brokers.url("broker2") + "/run",
            json=body,
            headers=pay(challenge),
            timeout=60,
            trust_env=False,
            verify=False,
        )
        assert paid.status_code == 200, paid.text


async def test_one_authorization_on_two_routes_at_once_runs_at_most_once(
    stack: Stack, wallet: Wallet
) -> None:
    challenge = httpx.post(stack.broker + "/run", json=UNIQUE, timeout=60, trust_env=False, verify=False)
    headers = wallet.pay_v1(challenge)
    before = stack.balance(wallet.address)
    first, second = await asyncio.gather(
        send_all([stack.broker], "/run", headers), send_all([stack.broker], "/execute", headers)
    )
    assert {response.status_code for response in first} == {200}
    assert {response.status_code for response in second} <= {402, 409}
    assert before - stack.balance(wallet.address) == int(challenge.json()["accepts"][0]["maxAmountRequired"])


async def test_a_broker_that_freezes_past_its_lease_does_not_pay_or_run_twice(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Stopped in the middle (as by a laptop's lid); the other broker carries on; then it wakes up."""
    with running_stack(tmp_path_factory.mktemp("frozen"), brokers=2, LEDGER_LEASE_S="2") as stack:
        wallet = funded_wallet(stack.devnet)
        challenge = httpx.post(stack.broker + "/run", json=LONG, timeout=60, trust_env=False, verify=False)
        headers = wallet.pay_v2(challenge)
        async with httpx.AsyncClient(timeout=60, trust_env=False, verify=False) as client:
            first = asyncio.create_task(client.post(stack.broker + "/run", json=LONG, headers=headers))
            while await ledger_rows(stack, wallet) != [("running", 1)]:
                assert not first.done(), "it was not seen running"
                await asyncio.sleep(0.01)
            with stack.frozen():
                other = await client.post(stack.url("broker2") + "/run", json=LONG, headers=headers)
            woken = await first
        assert other.status_code == 200, other.text
        assert (woken.status_code, woken.json()) == (200, other.json())
        assert receipt_of(woken) == receipt_of(other)
        price = int(challenge.json()["accepts"][0]["maxAmountRequired"])
        assert stack.balance(wallet.address) == 100_000_000 - price
        assert await ledger_rows(stack, wallet) == [("settled", 1)]


async def test_four_workers_of_one_broker_run_one_authorization_once(
    stack: Stack, wallet: Wallet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    port = free_port()
    environment = {**stack.environment, "DATABASE_URL": f"sqlite:///{stack.home / 'broker.sqlite'}"}
    path = tmp_path_factory.mktemp("workers") / "workers.log"
    program = Path(sys.executable).with_name("uvicorn")
    words = [program, "broker.main:app", "--port", str(port), "--workers", "4"]
    with (
        path.open("wb") as log,
        subprocess.Popen(words, env=environment, cwd=stack.home, stdout=log, stderr=log) as workers,
    ):
        try:
            async with asyncio.timeout(READY_S):
                while path.read_text().count(STARTED) < 4:
                    assert workers.poll() is None, path.read_text()
                    await asyncio.sleep(0.1)
            await check_one_run(stack, [f"http://127.0.0.1:{port}"], wallet, 2)
        finally:
            workers.terminate()
            workers.wait(40)
