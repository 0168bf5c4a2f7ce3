"""kill -9 of broker, executor and both while fifty customers store at once.

Afterwards there is no half file, no charge without content and no content without charge, also where the
customer never came back; and nothing else lies in the content folder.
"""

import asyncio
import base64
import random
import secrets
from collections.abc import Iterator
from itertools import count

import httpx
import pytest

from executor.storage.blobs import place_of
from tests.executor.storage.test_kills import left_in
from tests.faults.faulty import STORE_POINTS
from tests.faults.reaper import reap
from tests.faults.sales import Booked, Sale, buy, check_money, quiet, rows, until
from tests.flows.test_store import cid_of
from tests.support.services import Stack, running_stack
from tests.support.wallets import Wallet, funded_wallet

CUSTOMERS, WALLETS = 50, 10


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"UPLOADS_AT_ONCE": str(CUSTOMERS), "EXECUTOR_POOL": "0"}
    folder = tmp_path_factory.mktemp("faults")
    with running_stack(folder, LEDGER_LEASE_S="1.5", EXECUTOR_LEASE_S="1.5", **settings) as running:
        yield running


def new_sale(number: int, shared: list[bytes]) -> Sale:
    """JSON or a form; some content is bought by several; every third customer does not come back."""
    content = (
        random.choice(shared) if number % 5 == 0 else secrets.token_bytes(random.randint(20_000, 300_000))
    )
    request = {"data": {"ttl": "3600"}, "files": {"file": (f"{number}.bin", content)}}
    if number % 2:
        request = {"json": {"data": base64.b64encode(content).decode(), "encoding": "base64"}}
    return Sale("/store", request, content, gives_up=number % 3 == 0)


async def kill_all(stack: Stack, died: list[str]) -> None:
    """Each service at its points, then both at one moment."""
    await reap(stack, list(STORE_POINTS), died)
    await asyncio.sleep(random.uniform(0.2, 0.6))
    for name in ("broker", "executor"):
        stack.processes[name].popen.kill()
    for name in ("executor", "broker"):
        await asyncio.to_thread(stack.processes[name].kill)
        await asyncio.to_thread(lambda name=name: stack.launch(name).wait_ready())
    died.append("both")


@pytest.mark.timeout(300)
async def test_fifty_parallel_stores_survive_every_kill(stack: Stack) -> None:
    wallets = [funded_wallet(stack.devnet) for _ in range(WALLETS)]
    shared = [secrets.token_bytes(size) for size in (30_000, 290_000)]
    died: list[str] = []
    deaths = asyncio.create_task(kill_all(stack, died))
    sales: list[Sale] = []
    numbers = count()
    limits = httpx.Limits(max_connections=CUSTOMERS)
    async with httpx.AsyncClient(
        base_url=stack.broker, timeout=60, limits=limits, trust_env=False, verify=False
    ) as client:

        async def customer(wallet: Wallet) -> None:
            while not deaths.done():
                number = next(numbers)
                sales.append(new_sale(number, shared))
                await buy(client, wallet, sales[-1], 1 + number % 2)

        async with asyncio.TaskGroup() as group:
            for number in range(CUSTOMERS):
                group.create_task(customer(wallets[number % WALLETS]))
        await deaths
        assert sorted(died) == sorted([*STORE_POINTS, "both"])
        assert len(sales) >= CUSTOMERS
        await quiet(stack)
        await forget_staged(stack)
        ledger = check_money(stack, wallets, sales)
        bought = check_holds(stack, ledger, sales)
        await check_downloads(client, sales, bought)
    check_folder(stack, bought)


async def forget_staged(stack: Stack) -> None:
    """The hour passes after which an upload without a job is forgotten: the next sweep finds it over."""
    stack.processes["executor"].kill()
    rows(stack, "storage", "UPDATE storage_holds SET expires_at = 0 WHERE state = 'uploaded'")
    await asyncio.to_thread(lambda: stack.launch("executor").wait_ready())
    left = (
        "SELECT (SELECT count(*) FROM storage_holds WHERE state = 'uploaded')"
        " + (SELECT count(*) FROM storage_blobs WHERE state <> 'here')"
    )
    await until(lambda: rows(stack, "storage", left) == [(0,)], "the store comes to rest")


def check_holds(stack: Stack, ledger: dict[tuple[str, str], Booked], sales: list[Sale]) -> dict[str, bytes]:
    """Content is kept for each job that was paid for, and for no other. Returns it by its CID."""
    held = dict(rows(stack, "storage", "SELECT id, cid FROM storage_holds WHERE state = 'held'"))
    paid = {
        ledger[sale.authorization].job_id: sale.content
        for sale in sales
        if sale.payment and sale.authorization in ledger and ledger[sale.authorization].state == "settled"
    }
    assert len(paid) >= CUSTOMERS
    assert held == {job_id: cid_of(content) for job_id, content in paid.items()}
    return {cid_of(content): content for content in paid.values()}


async def check_downloads(client: httpx.AsyncClient, sales: list[Sale], bought: dict[str, bytes]) -> None:
    for cid in {cid_of(sale.content) for sale in sales}:
        answer = await client.get(f"/files/{cid}")
        if cid in bought:
            assert answer.content == bought[cid]
        else:
            assert answer.status_code == 404


def check_folder(stack: Stack, bought: dict[str, bytes]) -> None:
    """Whole files under their own names, and nothing else."""
    content = stack.home / "content"
    names = {name for (name,) in rows(stack, "storage", "SELECT name FROM storage_blobs")}
    files = [path for path in left_in(content) if path.suffix != ".nodes"]
    nodes = {path.stem for path in left_in(content) if path.suffix == ".nodes"}
    assert sorted(files) == sorted(content / place_of(name) for name in names)
    found = {cid_of(path.read_bytes()): path.name for path in files}
    assert found.keys() == bought.keys() and len(found) == len(files)
    assert nodes == {found[cid] for cid, data in bought.items() if len(data) > 256 * 1024}
    assert rows(stack, "storage", "SELECT size_bytes FROM storage_usage") == [
        (sum(map(len, bought.values())),)
    ]
