"""What Memcached does to a cache that Redis would not."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import emcache
import pytest

from shared.caches import memcached_items as items
from shared.caches.errors import CacheUnavailable, NoSuchCache
from shared.caches.memcached import MemcachedCaches
from shared.errors import StartupError
from tests.shared.caches.conftest import MAX_BYTES, new_id
from tests.support.memcached import running_memcached
from tests.support.ports import free_port


@pytest.fixture
async def memcached(memcached_url: str) -> AsyncIterator[MemcachedCaches]:
    opened = MemcachedCaches(memcached_url, MAX_BYTES)
    yield opened
    await opened.close()


@pytest.fixture
async def server(memcached_url: str) -> AsyncIterator[Any]:
    host, _, port = memcached_url.partition(":")
    client = await emcache.create_client([emcache.MemcachedHostAddress(host, int(port))])
    yield client
    await client.close()


async def test_a_forgotten_value_is_not_found_and_can_be_set_again(
    memcached: MemcachedCaches, server: Any
) -> None:
    cache_id = (await memcached.create(new_id(), "us-east-1", 100, None)).cache_id
    await memcached.set(cache_id, "key", "x" * 100)
    await server.delete(items.kept_key(cache_id, b"key"))
    assert await memcached.get(cache_id, "key") is None
    assert not await memcached.delete_key(cache_id, "key")
    await memcached.set(cache_id, "key", "y")
    assert (await memcached.info(cache_id)).used_bytes == len("key" + "y")


async def test_a_forgotten_count_starts_anew_and_a_forgotten_cache_is_not_found(
    memcached: MemcachedCaches, server: Any
) -> None:
    cache_id = (await memcached.create(new_id(), "us-east-1", 2, None)).cache_id
    await memcached.set(cache_id, "key", 1)
    await server.delete(items.used_key(cache_id))
    await memcached.get(cache_id, "key")
    assert (await memcached.info(cache_id)).operations_left == 1
    await server.delete(items.meta_key(cache_id))
    with pytest.raises(NoSuchCache):
        await memcached.get(cache_id, "key")


async def test_an_item_expires_with_its_key_and_with_its_cache() -> None:
    assert items.exptime() == 0
    assert items.exptime(None, None) == 0
    assert items.exptime(5_000, None) == 6
    assert items.exptime(5_001, 9_000) == 7


async def test_all_that_was_kept_for_a_cache_is_gone_when_it_is_deleted(
    memcached: MemcachedCaches, server: Any
) -> None:
    cache_id = (await memcached.create(new_id(), "us-east-1", 100, None)).cache_id
    keys = [f"key{number}" for number in range(30)]
    for key in keys:
        await memcached.set(cache_id, key, 1)
    await memcached.delete(cache_id)
    left = await server.get_many(
        [
            items.meta_key(cache_id),
            items.used_key(cache_id),
            items.bytes_key(cache_id),
            *(items.part_key(cache_id, part) for part in range(items.PARTS)),
            *(items.kept_key(cache_id, key.encode()) for key in keys),
        ]
    )
    assert left == {}


async def test_a_server_that_is_not_there_is_a_503_and_one_that_ends_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as hurried:
        hurried.setattr("shared.caches.memcached_client.TIMEOUT_S", 0.5)
        caches = MemcachedCaches(f"127.0.0.1:{free_port()}", MAX_BYTES)
        with pytest.raises(CacheUnavailable):
            async with asyncio.timeout(30):
                await caches.get("mcx", "key")
        await caches.close()
    monkeypatch.setattr("shared.caches.memcached_client.TIMEOUT_S", 2.0)
    with running_memcached() as url:
        caches = MemcachedCaches(f"memcached://{url}", MAX_BYTES)
        await caches.create("mcx", "us-east-1", 10, None)
    with pytest.raises(CacheUnavailable):
        async with asyncio.timeout(30):
            await caches.get("mcx", "key")
    await caches.close()


@pytest.mark.parametrize("url", ["", "redis://127.0.0.1", "memcached://", "127.0.0.1:99999", "a:b"])
def test_an_address_that_is_none_is_told_at_the_start(url: str) -> None:
    with pytest.raises(StartupError, match="MEMCACHED_URL"):
        MemcachedCaches(url, MAX_BYTES)
