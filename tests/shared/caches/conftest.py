"""Every backend, for one contract suite."""

import uuid
from collections.abc import AsyncIterator

import pytest

from shared.caches.base import Caches
from shared.caches.memcached import MemcachedCaches
from shared.caches.redis import RedisCaches
from shared.caches.router import new_cache_id

MAX_BYTES = 4 * 1024 * 1024


@pytest.fixture(params=["redis", "memcached"])
def url(request: pytest.FixtureRequest) -> str:
    address: str = request.getfixturevalue("valkey_url" if request.param == "redis" else "memcached_url")
    return address


@pytest.fixture
async def caches(url: str) -> AsyncIterator[Caches]:
    made = RedisCaches if url.startswith("redis:") else MemcachedCaches
    opened: Caches = made(url, MAX_BYTES)
    yield opened
    await opened.close()


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[RedisCaches]:
    opened = RedisCaches(valkey_url, MAX_BYTES)
    yield opened
    await opened.close()


@pytest.fixture
async def cache_id(caches: Caches) -> str:
    """A new cache of 10,000 operations."""
    return (await caches.create(new_id(), "us-east-1", 10_000, None)).cache_id


def new_id() -> str:
    return new_cache_id("redis")


def job_id() -> str:
    return uuid.uuid4().hex
