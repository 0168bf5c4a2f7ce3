"""The executor's cache tasks: seed 001's own examples, and every way to spell them, over the real service."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from executor.main import create_app
from executor.providers.base import Registry
from executor.providers.cache import parse
from executor.settings import ExecutorSettings
from shared.errors import BadRequest
from shared.settings import load_settings
from tests.support.valkey import new_valkey, running

CACHE_ID = "96ad0856-03b1-4ee7-9666-e81abd0349e1"
ALICE = {"name": "Alice", "email": "alice@example.com"}


def settings(home: Path, **more: str) -> ExecutorSettings:
    environment = {"GALAKSIO_HOME": str(home), "SANDBOX": "off", "EXECUTOR_POOL": "0", **more}
    return load_settings(ExecutorSettings, environment)


class Executor:
    """The app, asked as the broker asks it."""

    def __init__(self, app: FastAPI, http: httpx.AsyncClient) -> None:
        self.app = app
        self.http = http

    @property
    def registry(self) -> Registry:
        registry: Registry = self.app.state.jobs.registry
        return registry

    async def post(self, body: dict[str, Any]) -> httpx.Response:
        return await self.http.post("/execute", json=body)

    async def do(self, operation: str, provider: str = "redis", **fields: Any) -> Any:
        """The result of one operation that works."""
        task = {"jobId": job_id(), "taskType": "cache", "provider": provider, "cacheOperation": operation}
        answer = await self.post({**task, **fields})
        assert (answer.status_code, answer.json()["status"]) == (200, "completed"), answer.text
        return answer.json()["result"]

    async def status(self, name: str) -> dict[str, Any]:
        rows = (await self.http.get("/providers")).json()["providers"]
        (found,) = (row for row in rows if (row["kind"], row["name"]) == ("cache", name))
        return dict(found)


def job_id() -> str:
    return f"job-{uuid.uuid4()}"


@asynccontextmanager
async def opened(home: Path, **more: str) -> AsyncIterator[Executor]:
    app = create_app(settings(home, **more))
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://t") as http,
    ):
        yield Executor(app, http)


@pytest.fixture
async def executor(home: Path, valkey_url: str) -> AsyncIterator[Executor]:
    async with opened(home, REDIS_URL=valkey_url) as made:
        yield made


@pytest.fixture(params=["redis", "memcached"])
async def each(request: pytest.FixtureRequest, home: Path) -> AsyncIterator[tuple[Executor, str]]:
    """The executor with one backend, and its name."""
    name = str(request.param)
    url = request.getfixturevalue("valkey_url" if name == "redis" else "memcached_url")
    async with opened(home, **{f"{name.upper()}_URL": url}) as made:
        yield made, name


async def test_the_examples_of_seed_001_word_for_word_with_redis_for_xcache(executor: Executor) -> None:
    create = {
        "jobId": "uuid-1234",
        "taskType": "cache",
        "provider": "redis",
        "cacheOperation": "create",
        "cacheRegion": "us-east-1",
        "cacheId": CACHE_ID,
    }
    made = (await executor.post(create)).json()
    assert (made["jobId"], made["status"]) == ("uuid-1234", "completed")
    assert made["result"] == {
        "cacheId": CACHE_ID,
        "region": "us-east-1",
        "operations": 50_000,
        "expiresAt": None,
    }
    kept = await executor.post(
        {
            "jobId": "uuid-5678",
            "taskType": "cache",
            "provider": "redis",
            "cacheOperation": "set",
            "cacheId": CACHE_ID,
            "cacheKey": "user:123",
            "cacheValue": {"name": "Alice", "email": "alice@example.com"},
            "cacheTtl": 3600,
        }
    )
    assert kept.status_code == 200
    assert kept.json() == {
        "jobId": "uuid-5678",
        "status": "completed",
        "success": True,
        "result": {
            "key": "user:123",
            "value": {"name": "Alice", "email": "alice@example.com"},
            "ttl": 3600,
        },
    }
    got = await executor.post(
        {
            "jobId": "uuid-9999",
            "taskType": "cache",
            "provider": "redis",
            "cacheOperation": "get",
            "cacheId": CACHE_ID,
            "cacheKey": "user:123",
        }
    )
    result = got.json()["result"]
    assert result == {"key": "user:123", "value": ALICE, "ttl": result["ttl"]}
    assert 3500 < result["ttl"] <= 3600


def test_the_requests_of_seed_001_are_read_as_they_stand_whoever_the_provider_is() -> None:
    task = {"jobId": "uuid-5678", "taskType": "cache", "provider": "xcache"}
    create = parse({**task, "cacheOperation": "create", "cacheRegion": "us-east-1"})
    assert (create.operation, create.id, create.region, create.ttl) == ("create", None, "us-east-1", None)
    fields = {"cacheId": CACHE_ID, "cacheKey": "user:123"}
    kept = parse({**task, **fields, "cacheOperation": "set", "cacheValue": ALICE, "cacheTtl": 3600})
    assert (kept.operation, kept.id, kept.key, kept.value, kept.ttl) == (
        "set",
        CACHE_ID,
        "user:123",
        ALICE,
        3600,
    )
    got = parse({**task, **fields, "cacheOperation": "get"})
    assert (got.operation, got.id, got.key) == ("get", CACHE_ID, "user:123")


async def test_every_operation_answers_in_its_shape(each: tuple[Executor, str]) -> None:
    executor, name = each
    made = await executor.do("create", name, cacheRegion="eu-west-1", cacheTtl=3600)
    assert made.keys() == {"cacheId", "region", "operations", "expiresAt"}
    assert (made["region"], made["operations"]) == ("eu-west-1", 50_000)
    assert made["expiresAt"].endswith("Z")
    cache = {"provider": name, "cacheId": made["cacheId"]}
    assert await executor.do("set", **cache, cacheKey="a", cacheValue=None) == {
        "key": "a",
        "value": None,
        "ttl": None,
    }
    assert await executor.do("get", **cache, cacheKey="a") == {"key": "a", "value": None, "ttl": None}
    assert await executor.do("ttl", **cache, cacheKey="a") == {"key": "a", "ttl": None, "unit": "seconds"}
    assert await executor.do("update-ttl", **cache, cacheKey="a", cacheTtl=60) == {"key": "a", "ttl": 60}
    told = await executor.do("ttl", **cache, cacheKey="a")
    assert told == {"key": "a", "ttl": told["ttl"], "unit": "seconds"} and 30 < told["ttl"] <= 60
    assert await executor.do("update_ttl", **cache, cacheKey="a", cacheTtl=None) == {"key": "a", "ttl": None}
    await executor.do("set", **cache, cacheKey="b", cacheValue=[1])
    page = await executor.do("list", **cache)
    assert sorted(page.pop("keys")) == ["a", "b"]
    assert page == {"count": 2, "operations": 50_000 - 8, "cursor": None}
    assert await executor.do("delete", **cache, cacheKey="a") == {"message": "Key deleted"}
    assert await executor.do("delete", **cache, cacheKey="a") == {"message": "There was no such key"}
    assert (await executor.do("list", **cache, cachePrefix="b"))["keys"] == ["b"]


async def test_a_set_without_a_cache_makes_one_and_without_a_key_names_one(executor: Executor) -> None:
    made = await executor.do("set", cacheValue="first")
    assert made["key"].startswith("file_") and made["key"][5:].isdecimal()
    assert made.keys() == {"key", "value", "ttl", "cacheId"}
    got = await executor.do("get", cacheId=made["cacheId"], cacheKey=made["key"])
    assert got["value"] == "first"


@pytest.mark.parametrize(
    "spelled",
    [
        {"taskType": "cache", "cacheOperation": "get", "cacheId": "ID", "cacheKey": "k"},
        {"taskType": "cache", "meta": {"cacheOperation": "get", "cacheId": "ID", "cacheKey": "k"}},
        {"taskType": "cache", "meta": {"operation": "get", "cacheId": "ID", "key": "k"}},
        {"taskType": "store", "meta": {"operation": "get", "cacheId": "ID", "key": "k"}},
        {"taskType": "storage", "cacheOperation": "GET", "cacheId": "ID", "cacheKey": "k"},
        {
            "taskType": "cache",
            "cacheOperation": "get",
            "cacheKey": "k",
            "meta": {"operation": "delete", "cacheId": "ID", "key": "other"},
        },
    ],
)
async def test_a_task_is_read_in_each_of_its_spellings(executor: Executor, spelled: dict[str, Any]) -> None:
    cache_id = (await executor.do("create"))["cacheId"]
    await executor.do("set", cacheId=cache_id, cacheKey="k", cacheValue="found")
    meta = spelled.get("meta", {})
    body = {**spelled, "meta": {**meta, **({"cacheId": cache_id} if "cacheId" in meta else {})}}
    if "cacheId" in spelled:
        body["cacheId"] = cache_id
    answer = await executor.post({"jobId": job_id(), "provider": "redis", **body})
    assert answer.json()["result"]["value"] == "found", answer.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "operation"),
        ({"cacheOperation": "flush"}, "operation"),
        ({"cacheOperation": "get", "cacheKey": "k"}, "cacheId is required for get"),
        ({"cacheOperation": "get", "cacheId": "x"}, "cacheKey is required for get"),
        ({"cacheOperation": "set", "cacheId": "x", "cacheKey": "k"}, "cacheValue is required for set"),
        ({"cacheOperation": "update-ttl", "cacheId": "x", "cacheKey": "k"}, "cacheTtl is required"),
        ({"cacheOperation": "set", "cacheValue": 1, "cacheTtl": 0}, "ttl must be"),
        ({"cacheOperation": "set", "cacheValue": 1, "cacheTtl": "soon"}, "ttl"),
        ({"cacheOperation": "get", "cacheId": "x", "cacheKey": "a\0b"}, "control characters"),
        ({"cacheOperation": "create", "cacheId": "{x}"}, "cacheId"),
        ({"cacheOperation": "create", "cacheRegion": "here & there"}, "region"),
        ({"cacheOperation": "create", "cacheId": "mc-of-the-other"}, "none of redis"),
        ({"cacheOperation": "list", "cacheId": "x", "cacheLimit": 5000}, "limit"),
    ],
)
async def test_a_malformed_task_is_told_what_is_wrong(
    executor: Executor, fields: dict[str, Any], words: str
) -> None:
    answer = await executor.post({"jobId": job_id(), "taskType": "cache", "provider": "redis", **fields})
    assert (answer.status_code, answer.json()["status"]) == (400, "failed")
    assert words in answer.json()["error"]


def test_a_value_that_is_nested_too_deep_is_refused_when_it_is_read() -> None:
    value: list[Any] = []
    for _ in range(900):
        value = [value]
    with pytest.raises(BadRequest):
        parse({"cacheOperation": "set", "cacheValue": value})


async def test_what_is_not_there_is_a_404_with_a_code(executor: Executor) -> None:
    cache_id = (await executor.do("create"))["cacheId"]
    task = {"taskType": "cache", "provider": "redis", "cacheOperation": "get", "cacheKey": "none"}
    missing = await executor.post({"jobId": job_id(), **task, "cacheId": cache_id})
    assert (missing.status_code, missing.json()["code"]) == (404, "key_not_found")
    unknown = await executor.post({"jobId": job_id(), **task, "cacheId": "rdnone"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "cache_not_found")


async def test_undoing_the_job_that_made_a_cache_removes_it(each: tuple[Executor, str]) -> None:
    executor, name = each
    provider: Any = executor.registry.providers["cache", name]
    task = {"jobId": job_id(), "taskType": "cache", "provider": name, "cacheOperation": "create"}
    cache_id = (await executor.post(task)).json()["result"]["cacheId"]
    await provider.undo(task["jobId"])
    listing = {**task, "jobId": job_id(), "cacheOperation": "list", "cacheId": cache_id}
    assert (await executor.post(listing)).json()["code"] == "cache_not_found"
    implicit = {**task, "jobId": job_id(), "cacheOperation": "set", "cacheValue": 1}
    cache_id = (await executor.post(implicit)).json()["result"]["cacheId"]
    await provider.undo(implicit["jobId"])
    listing = {**listing, "jobId": job_id(), "cacheId": cache_id}
    assert (await executor.post(listing)).json()["code"] == "cache_not_found"
    await provider.undo("unknown")


async def test_a_job_that_runs_again_after_a_crash_makes_the_same_cache(
    executor: Executor, home: Path, valkey_url: str
) -> None:
    task = {"jobId": job_id(), "taskType": "cache", "provider": "redis", "cacheOperation": "create"}
    first = (await executor.post(task)).json()["result"]
    async with opened(home / "other", REDIS_URL=valkey_url) as another:
        assert (await another.post(task)).json()["result"] == first


async def test_without_an_address_caches_are_disabled_and_say_why(home: Path) -> None:
    async with opened(home) as executor:
        for name, setting in (("redis", "REDIS_URL"), ("memcached", "MEMCACHED_URL")):
            status = await executor.status(name)
            assert (status["status"], status["reason"]) == ("disabled", f"{setting} is not set")
            task = {"jobId": job_id(), "taskType": "cache", "provider": name, "cacheOperation": "create"}
            answer = await executor.post(task)
            assert (answer.status_code, answer.json()["code"]) == (503, "cache_unavailable")
            assert setting in answer.json()["error"]


async def test_a_server_that_comes_later_is_found_and_its_end_is_no_crash(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.providers.cache.base.LOOK_EVERY_S", 0.05)
    monkeypatch.setattr("executor.providers.cache.base.LOOK_TIMEOUT_S", 20.0)
    valkey = new_valkey(tmp_path / "valkey")

    async def becomes(executor: Executor, status: str) -> None:
        async with asyncio.timeout(20):
            while (await executor.status("redis"))["status"] != status:
                await asyncio.sleep(0.02)

    async with opened(home, REDIS_URL=valkey.url) as executor:
        assert (await executor.status("redis"))["status"] == "unavailable"
        task = {"taskType": "cache", "provider": "redis", "cacheOperation": "create"}
        answer = await executor.post({"jobId": job_id(), **task})
        assert (answer.status_code, answer.json()["code"]) == (503, "cache_unavailable")
        assert "Retry-After" in answer.headers
        with running(valkey):
            await becomes(executor, "available")
            assert (await executor.post({"jobId": job_id(), **task})).status_code == 200
            ready = (await executor.http.get("/health/ready")).json()["dependencies"]
            assert ready["cache/redis"]["status"] == "healthy"
        await becomes(executor, "unavailable")
        assert (await executor.post({"jobId": job_id(), **task})).status_code == 503
