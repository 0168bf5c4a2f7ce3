"""The executor's tasks at stand-ins that are paid for real: what was done, and to the unit what it cost."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from executor.main import create_app
from executor.settings import ExecutorSettings
from shared.settings import load_settings
from tests.support.services import Stack
from tests.support.wallets import Wallet, funded_wallet
from tests.upstream.openx402 import cid_of
from tests.upstream.shop import NETWORK
from tests.upstream.upstreams import Upstreams


@pytest.fixture
def wallet(chain: Stack) -> Wallet:
    """The executor's, with 100 test dollars."""
    return funded_wallet(chain.devnet)


@asynccontextmanager
async def executor(
    home: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> AsyncIterator[httpx.AsyncClient]:
    """The service in this process, with a key and the stand-ins for providers."""
    paying = {"EXECUTOR_PRIVATE_KEY": wallet.key, "CHAIN_RPC_URL": f"{chain.devnet}/rpc"}
    folder = {"GALAKSIO_HOME": str(home), "SANDBOX": "off", "EXECUTOR_POOL": "0"}
    app = create_app(load_settings(ExecutorSettings, {**folder, **paying, **upstreams.settings}))
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://t", timeout=60) as http,
    ):
        yield http


@pytest.fixture
async def http(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> AsyncIterator[httpx.AsyncClient]:
    async with executor(tmp_path, chain, upstreams, wallet) as made:
        yield made


async def ask(http: httpx.AsyncClient, job_id: str, kind: str, provider: str, **body: Any) -> httpx.Response:
    task = {"jobId": job_id, "taskType": kind, "provider": provider, "maxSpendAtomic": "20000", **body}
    return await http.post("/execute", json=task)


async def done(http: httpx.AsyncClient, job_id: str, kind: str, provider: str, **body: Any) -> dict[str, Any]:
    answer = await ask(http, job_id, kind, provider, **body)
    assert (answer.status_code, answer.json()["status"]) == (200, "completed"), answer.text
    result: dict[str, Any] = answer.json()["result"]
    return result


def receipt(upstreams: Upstreams, name: str, usd: str) -> dict[str, Any]:
    """What a result says of the one payment that this provider got."""
    shop = next(shop for shop in upstreams.all if shop.name == name)
    (settled,) = shop.settled
    return {
        "paidUsd": usd,
        "transaction": settled.transaction,
        "network": NETWORK.caip2,
        "payTo": shop.pay_to.lower(),
    }


async def test_a_cache_is_bought_once_and_used_within_its_operations(
    http: httpx.AsyncClient, upstreams: Upstreams
) -> None:
    made = await done(http, "buy", "cache", "xcache", cacheOperation="create", cacheRegion="eu-west-1")
    assert made == await done(
        http, "buy", "cache", "xcache", cacheOperation="create", cacheRegion="eu-west-1"
    )
    (own_id,) = upstreams.xcache.caches
    assert (made["cacheId"], made["region"], made["operations"]) == (own_id, "eu-west-1", 50_000)
    assert made["upstream"] == receipt(upstreams, "xcache", "0.01")
    entry = {"cacheId": own_id, "cacheKey": "user:123"}
    kept = {"cacheOperation": "set", **entry, "cacheValue": {"a": [1]}, "cacheTtl": 3600}
    assert await done(http, "1", "cache", "xcache", **kept) == {
        "key": "user:123",
        "value": {"a": [1]},
        "ttl": 3600,
    }
    assert (await done(http, "2", "cache", "xcache", cacheOperation="get", **entry))["value"] == {"a": [1]}
    assert (await done(http, "3", "cache", "xcache", cacheOperation="ttl", **entry))["unit"] == "seconds"
    listed = await done(http, "4", "cache", "xcache", cacheOperation="list", cacheId=f"xc{own_id}")
    assert (listed["keys"], listed["operations"]) == (["user:123"], 49_996)
    await done(http, "5", "cache", "xcache", cacheOperation="delete", **entry)
    gone = await ask(http, "6", "cache", "xcache", cacheOperation="get", **entry)
    assert (gone.status_code, gone.json()["code"]) == (404, "key_not_found")
    assert len(upstreams.xcache.settled) == 1


@pytest.mark.parametrize("content", [b"hello", bytes(range(256)) * 8192, b'{"a": [1, 2]}'])
async def test_content_is_pinned(http: httpx.AsyncClient, upstreams: Upstreams, content: bytes) -> None:
    body = {"fileInline": base64.b64encode(content).decode(), "fileName": "a.bin"}
    result = await done(http, "pin", "store", "openx402", **body)
    pinned = content
    if content.startswith(b"{"):
        pinned = json.dumps(json.loads(content), separators=(",", ":")).encode()
        assert (result["endpoint"], result["priceUsd"]) == ("/pin/json", 0.01)
    assert upstreams.openx402.pinned == {cid_of(pinned): pinned}
    assert result["cid"] == result["ipfsHash"] == cid_of(pinned)
    assert receipt(upstreams, "openx402", "0.01").items() <= result["upstream"].items()


async def test_a_snippet_is_run(http: httpx.AsyncClient, upstreams: Upstreams) -> None:
    result = await done(http, "run", "compute", "merit-systems", meta={"snippet": "print(6 * 7)"})
    assert (result["output"], result["stdout"], result["exitCode"]) == ("42\n", "42\n", 0)
    assert result["upstream"] == receipt(upstreams, "merit-systems", "0.0025")
    assert upstreams.merit_systems.snippets == ["print(6 * 7)"]


async def test_one_who_fails_after_the_payment_is_not_paid_twice(
    http: httpx.AsyncClient, upstreams: Upstreams
) -> None:
    upstreams.openx402.fail_after_payment = upstreams.openx402.remembers = True
    failed = await ask(http, "job", "store", "openx402", data="hello")
    assert (failed.status_code, failed.json()["code"]) == (502, "upstream_refused")
    upstreams.openx402.fail_after_payment = False
    result = await done(http, "job", "store", "openx402", data="hello")
    assert result["cid"] == cid_of(b"hello") and len(upstreams.openx402.settled) == 1


async def test_a_limit_of_the_job_holds_and_its_providers_are_measured(
    http: httpx.AsyncClient, upstreams: Upstreams
) -> None:
    dear = await ask(http, "job", "store", "openx402", data="hello", maxSpendAtomic="9999")
    assert (dear.status_code, dear.json()["code"]) == (503, "upstream_over_budget")
    await done(http, "job", "store", "openx402", data="hello")
    rows = (await http.get("/providers")).json()["providers"]
    row = next(row for row in rows if row["name"] == "openx402")
    assert (row["status"], row["successRate"], row["networks"]) == ("available", 0.5, [NETWORK.caip2])
    assert 0 < row["typicalMs"] < 60_000 and 0 < row["spendableAtomic"] < 20_000_000
    assert len(upstreams.openx402.settled) == 1
