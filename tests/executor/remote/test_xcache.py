"""Caches at xcache: seed 001's own examples, and every answer that is none."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from executor.providers.base import Context
from executor.storage.storage import Storage
from executor.upstream.base import Means
from executor.upstream.errors import UpstreamOff, UpstreamRefused
from shared.caches.errors import CacheUnavailable, NoSuchKey, OperationsGone
from shared.errors import BadRequest
from tests.executor.remote.conftest import PAID, PlainUpstream, context_of, done, provider

BASE = "https://api.xcache.io"
OWN = "96ad0856-03b1-4ee7-9666-e81abd0349e1"
ALICE = {"name": "Alice", "email": "alice@example.com"}


async def do(context: Context, operation: str, **fields: Any) -> dict[str, Any]:
    return await done(context, "cache", "xcache", {"cacheOperation": operation, **fields})


@respx.mock
async def test_a_cache_is_bought_and_has_xcaches_own_id(context: Context, upstream: PlainUpstream) -> None:
    created = respx.post(f"{BASE}/create").respond(200, json={"id": OWN})
    assert await do(context, "create", cacheRegion=" US-East-1") == {
        "cacheId": OWN,
        "region": "us-east-1",
        "operations": 50_000,
        "expiresAt": None,
        "provider": "xcache",
        "upstream": PAID,
    }
    assert json.loads(created.calls.last.request.content) == {"region": "us-east-1"}
    (order, spending) = upstream.sent[0]
    assert (order.step, spending.job_id, spending.provider) == ("create", "job-1", "xcache")


@respx.mock
async def test_the_examples_of_seed_001(context: Context, upstream: PlainUpstream) -> None:
    entry = {"key": "user:123", "value": ALICE, "ttl": 3600}
    put = respx.put(f"{BASE}/{OWN}/user%3A123").respond(200, json=entry)
    kept = await do(context, "set", cacheId=OWN, cacheKey="user:123", cacheValue=ALICE, cacheTtl=3600)
    assert kept == entry
    assert json.loads(put.calls.last.request.content) == {"value": ALICE, "ttl": 3600}
    respx.get(f"{BASE}/{OWN}/user%3A123").respond(200, json={**entry, "ttl": 3455})
    assert await do(context, "get", cacheId=OWN, cacheKey="user:123") == {**entry, "ttl": 3455}
    assert upstream.sent == []


@respx.mock
async def test_every_operation_takes_both_forms_of_an_id(context: Context) -> None:
    respx.delete(f"{BASE}/{OWN}/k").respond(200, json={"message": "gone"})
    respx.get(f"{BASE}/{OWN}").respond(200, json={"keys": ["a", "b"], "count": 2, "operations": 7})
    respx.get(f"{BASE}/{OWN}/k/ttl").respond(200, json={"key": "k", "ttl": 5, "unit": "seconds"})
    respx.put(f"{BASE}/{OWN}/k/ttl").respond(200, json={"key": "k", "ttl": 9})
    for cache_id in (OWN, f"xc{OWN}"):
        entry = {"cacheId": cache_id, "cacheKey": "k"}
        assert await do(context, "delete", **entry) == {"message": "Key deleted"}
        listed = await do(context, "list", cacheId=cache_id)
        assert (listed["keys"], listed["count"], listed["operations"]) == (["a", "b"], 2, 7)
        assert await do(context, "ttl", **entry) == {"key": "k", "ttl": 5, "unit": "seconds"}
        assert await do(context, "update-ttl", **entry, cacheTtl=9) == {"key": "k", "ttl": 9}


@respx.mock
async def test_set_without_a_cache_buys_one_and_without_a_key_names_one(context: Context) -> None:
    respx.post(f"{BASE}/create").respond(201, json={"id": OWN})
    put = respx.put(url__regex=rf"{BASE}/{OWN}/file_[0-9]{{13}}").respond(200, json={})
    kept = await do(context, "set", cacheValue=[1, None])
    assert kept["cacheId"] == OWN and kept["value"] == [1, None] and kept["ttl"] is None
    assert put.calls.last.request.url.path.endswith(kept["key"])
    assert json.loads(put.calls.last.request.content) == {"value": [1, None]}


@respx.mock
@pytest.mark.parametrize("fields", [{"cacheKey": "a\nb"}, {"cacheKey": ".."}, {"cacheTtl": 0}])
async def test_nothing_is_bought_for_an_entry_that_could_not_be_kept(
    context: Context, upstream: PlainUpstream, fields: dict[str, Any]
) -> None:
    with pytest.raises(BadRequest):
        await do(context, "set", **{"cacheKey": "k", "cacheValue": 1, **fields})
    assert upstream.sent == []


@respx.mock
@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>welcome</html>"),
        httpx.Response(200, json={}),
        httpx.Response(200, json=[OWN]),
        httpx.Response(200, json={"id": 7}),
        httpx.Response(200, json={"id": ""}),
        httpx.Response(200, json={"id": "../admin"}),
        httpx.Response(200, json={"id": "x" * 61}),
        httpx.Response(200, json={"id": OWN, "operations": "many"}),
        httpx.Response(200, json={"id": OWN, "success": False}),
        httpx.Response(402, json={"accepts": []}),
        httpx.Response(404, json={"id": OWN}),
        httpx.Response(500, json={"id": OWN}),
        httpx.Response(302, headers={"Location": "https://elsewhere.example"}),
    ],
)
async def test_a_create_that_is_answered_with_anything_else_is_refused(
    context: Context, answer: httpx.Response
) -> None:
    respx.post(f"{BASE}/create").mock(return_value=answer)
    with pytest.raises(UpstreamRefused) as refused:
        await do(context, "create")
    assert "welcome" not in refused.value.message and refused.value.status == 502


@respx.mock
async def test_what_is_wrong_with_an_operation_keeps_its_own_error(context: Context) -> None:
    route = respx.get(f"{BASE}/{OWN}/k")
    for answer, error in (
        (httpx.Response(404, json={}), NoSuchKey),
        (httpx.Response(402, json={}), OperationsGone),
        (httpx.Response(500, text="oops"), CacheUnavailable),
    ):
        route.mock(return_value=answer)
        with pytest.raises(error):
            await do(context, "get", cacheId=OWN, cacheKey="k")


async def test_what_xcache_does_not_sell_is_refused(context: Context) -> None:
    for operation, fields, code in (
        ("topup", {"cacheId": OWN}, "cannot_top_up"),
        ("create", {"cacheId": OWN}, "invalid_cache_id"),
        ("create", {"cacheRegion": "a/b"}, "invalid_region"),
        ("list", {"cacheId": OWN, "cachePrefix": "a"}, "not_offered_by_xcache"),
    ):
        with pytest.raises(BadRequest) as refused:
            await do(context, operation, **fields)
        assert refused.value.code == code


@respx.mock
async def test_a_cache_is_used_also_where_none_can_be_bought(
    context: Context, upstream: PlainUpstream
) -> None:
    upstream.can = Means("no key", [], 0, False)
    respx.get(f"{BASE}/{OWN}/k").respond(200, json={"key": "k", "value": 1, "ttl": None})
    assert (await do(context, "get", cacheId=OWN, cacheKey="k"))["value"] == 1
    assert provider(context, "cache", "xcache").status().status == "disabled"


async def test_one_that_is_not_wanted_is_never_asked(
    tmp_path: Path, upstream: PlainUpstream, storage: Storage
) -> None:
    context = context_of(tmp_path, upstream, storage, REMOTE_PROVIDERS="openx402")
    with pytest.raises(UpstreamOff):
        await do(context, "get", cacheId=OWN, cacheKey="k")
