"""kill -9 of broker and executor while caches and more operations for them are sold, on a real Valkey.

Afterwards every cache that was paid for is there with all operations that were paid for, and no other is.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest
from redis import Redis

from shared.caches.limits import OPERATIONS_INCLUDED
from shared.caches.redis_wire import meta_key
from shared.caches.router import cache_id_of_job
from tests.faults.faulty import CACHE_POINTS
from tests.faults.reaper import reap
from tests.faults.sales import Booked, Sale, buy, check_money, quiet
from tests.support.services import Stack, running_stack
from tests.support.valkey import running_valkey
from tests.support.wallets import Wallet, funded_wallet

CUSTOMERS = 8


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[str]:
    """One of this test's own: all that is in it was sold here."""
    with running_valkey(tmp_path / "valkey") as running:
        yield running.url


@pytest.fixture
def stack(tmp_path: Path, valkey: str) -> Iterator[Stack]:
    settings = {"REDIS_URL": valkey, "EXECUTOR_POOL": "0"}
    with running_stack(
        tmp_path / "stack", LEDGER_LEASE_S="1.5", EXECUTOR_LEASE_S="1.5", **settings
    ) as running:
        yield running


@pytest.mark.timeout(300)
async def test_caches_and_their_operations_survive_every_kill(stack: Stack, valkey: str) -> None:
    wallets = [funded_wallet(stack.devnet) for _ in range(CUSTOMERS)]
    died: list[str] = []
    deaths = asyncio.create_task(reap(stack, list(CACHE_POINTS), died))
    sales: list[Sale] = []
    numbers = count()
    async with httpx.AsyncClient(base_url=stack.broker, timeout=60, trust_env=False, verify=False) as client:

        async def wanted(path: str, wallet: Wallet) -> Sale:
            number = next(numbers)
            # Each is another request: an unpaid one of before would be released by a new payment.
            request = {"json": {"ttl": 3600 + number} if path == "/cache" else {"maxCostUsd": 1 + number}}
            sale = Sale(path, request, gives_up=number % 3 == 0)
            sales.append(sale)
            await buy(client, wallet, sale, 1 + number % 2)
            return sale

        async def customer(wallet: Wallet) -> None:
            while not deaths.done():
                bought = await wanted("/cache", wallet)
                if bought.answer is not None and bought.answer.status_code == 200:
                    cache_id = bought.answer.json()["result"]["cacheId"]
                    await wanted(f"/cache/{cache_id}/topup", wallet)

        async with asyncio.TaskGroup() as group:
            for wallet in wallets:
                group.create_task(customer(wallet))
        await deaths
    assert sorted(died) == sorted(CACHE_POINTS)
    await quiet(stack)
    check_caches(valkey, check_money(stack, wallets, sales), sales)


def check_caches(valkey: str, ledger: dict[tuple[str, str], Booked], sales: list[Sale]) -> None:
    """Operations are there as they were paid for, in caches that were, to the last one."""
    paid: Counter[str] = Counter()
    for sale in sales:
        booked = ledger.get(sale.authorization)
        if booked is not None and booked.state == "settled":
            made = sale.path == "/cache"
            paid[cache_id_of_job("redis", booked.job_id) if made else sale.path.split("/")[2]] += 1
    with Redis.from_url(valkey) as redis:
        metas = set(redis.scan_iter("{*}:m"))
        assert metas == {meta_key(cache_id) for cache_id in paid}
        for cache_id, times in paid.items():
            left, used = redis.hmget(meta_key(cache_id), "left", "used")
            assert (int(left), int(used)) == (times * OPERATIONS_INCLUDED, 0)
    assert max(paid.values()) > 1, "no operations were bought: the test shows nothing"
