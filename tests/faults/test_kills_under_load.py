"""kill -9 of each service at named points while 200 jobs run, 8 at a time.

Afterwards, for every job: it ran once to a kept result, it was settled once, its result can be fetched, and
the chain agrees with the ledger to the unit (payments.md §3).
"""

import asyncio
import base64
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.faults.faulty import POINTS
from tests.faults.reaper import PATIENCE_S, reap
from tests.support.services import HOST_WALLET, Stack, running_stack
from tests.support.wallets import Wallet, funded_wallet, receipt_of

JOBS, WORKERS = 200, 8


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"EXECUTOR_QUEUE": "64", "EXECUTOR_POOL": "4"}
    folder = tmp_path_factory.mktemp("faults")
    with running_stack(folder, LEDGER_LEASE_S="1.5", EXECUTOR_LEASE_S="1.5", **settings) as running:
        yield running


@dataclass
class Done:
    """One job as its client saw it."""

    number: int
    headers: dict[str, str]
    body: dict[str, object]
    receipt: dict[str, object]
    price: int


async def one_job(client: httpx.AsyncClient, url: str, wallet: Wallet, number: int) -> Done:
    """Ask, sign once, and send that one authorization again until there is a result."""
    request = {"code": f"echo {number} $RANDOM$RANDOM", "language": "bash"}
    challenge = await _until(client, url, request, {}, {402})
    headers = wallet.pay_v1(challenge) if number % 2 else wallet.pay_v2(challenge)
    response = await _until(client, url, request, headers, {200})
    price = int(challenge.json()["accepts"][0]["maxAmountRequired"])
    return Done(number, headers, response.json(), receipt_of(response), price)


async def _until(
    client: httpx.AsyncClient, url: str, request: dict[str, str], headers: dict[str, str], wanted: set[int]
) -> httpx.Response:
    deadline = time.monotonic() + PATIENCE_S
    answer = "no answer"
    while time.monotonic() < deadline:
        try:
            response = await client.post(url + "/run", json=request, headers=headers)
        except httpx.HTTPError as exc:
            answer = type(exc).__name__
        else:
            if response.status_code in wanted:
                return response
            answer = f"{response.status_code} {response.text[:300]}"
            assert response.status_code in {202, 503}, f"{request}: {answer}"
        await asyncio.sleep(0.1)
    raise AssertionError(f"{request}: still {answer}")


def authorization_of(done: Done) -> tuple[str, str]:
    (header,) = done.headers.values()
    fields = json.loads(base64.b64decode(header))["payload"]["authorization"]
    return fields["from"].lower(), fields["nonce"].lower()


@pytest.mark.timeout(300)
async def test_two_hundred_jobs_survive_every_kill(stack: Stack) -> None:
    wallets = [funded_wallet(stack.devnet) for _ in range(WORKERS)]
    died: list[str] = []
    deaths = asyncio.create_task(reap(stack, list(POINTS), died))
    done: list[Done] = []
    queue = iter(range(JOBS))
    async with httpx.AsyncClient(timeout=60, trust_env=False, verify=False) as client:

        async def worker(wallet: Wallet) -> None:
            for number in queue:
                done.append(await one_job(client, stack.broker, wallet, number))
            # The last deaths still need passers-by.
            extra = JOBS + wallets.index(wallet)
            while not deaths.done():
                done.append(await one_job(client, stack.broker, wallet, extra))
                extra += WORKERS

        async with asyncio.TaskGroup() as group:
            for wallet in wallets:
                group.create_task(worker(wallet))
        await deaths
        assert sorted(died) == sorted(POINTS)
        check_ledger(stack, done)
        await check_results(client, stack.broker, done)
    spent = sum(item.price for item in done)
    assert sum(stack.balance(wallet.address) for wallet in wallets) == WORKERS * 100_000_000 - spent
    assert stack.balance(HOST_WALLET) == spent


def check_ledger(stack: Stack, done: list[Done]) -> None:
    with sqlite3.connect(stack.home / "broker.sqlite", timeout=60) as database:
        rows = {
            (payer, nonce): (state, transaction, job_id, amount)
            for payer, nonce, state, transaction, job_id, amount in database.execute(
                "SELECT payer, nonce, state, transaction_hash, job_id, amount_atomic FROM payments"
            )
        }
        completed = {row[0] for row in database.execute("SELECT id FROM jobs WHERE status = 'completed'")}
    assert {state for state, *_ in rows.values()} == {"settled"}
    assert len(rows) == len(done)
    assert len({transaction for _, transaction, *_ in rows.values()}) == len(done)
    assert completed == {job_id for _, _, job_id, _ in rows.values()}
    for item in done:
        state, transaction, job_id, amount = rows[authorization_of(item)]
        assert (state, job_id, amount) == ("settled", item.body["jobId"], item.price)
        assert transaction == item.receipt["transaction"]
    for payer, nonce in rows:
        used = httpx.get(
            f"{stack.devnet}/authorization/{payer}/{nonce}", trust_env=False, verify=False, timeout=60
        ).json()["used"]
        assert used is True


async def check_results(client: httpx.AsyncClient, url: str, done: list[Done]) -> None:
    """Each job's own result, the same whoever asks: by its id, and with the same authorization again."""
    for item in done:
        job = (await client.get(f"{url}/status/{item.body['jobId']}")).json()
        assert job["status"] == "completed"
        assert job["result"] == item.body["result"]
        assert str(job["result"]["stdout"]).split()[0] == str(item.number)
    for item in done[:: max(1, len(done) // 10)]:
        request = {"code": f"echo {item.number} $RANDOM$RANDOM", "language": "bash"}
        again = await client.post(url + "/run", json=request, headers=item.headers)
        assert (again.status_code, again.json()) == (200, item.body)
