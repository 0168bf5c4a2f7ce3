"""An id tells where its cache is kept."""

import pytest

from shared.caches.command import Command
from shared.caches.errors import CacheUnavailable, NoSuchCache
from shared.caches.router import backend_of, cache_id_of_job, new_cache_id, open_caches
from shared.errors import BadRequest
from tests.shared.caches.conftest import MAX_BYTES, job_id


def test_an_id_is_random_safe_in_urls_and_names_its_backend() -> None:
    for backend, prefix in (("redis", "rd"), ("memcached", "mc")):
        made = {new_cache_id(backend) for _ in range(1000)}  # type: ignore[arg-type]
        assert len(made) == 1000
        for cache_id in made:
            assert len(cache_id) == 24
            assert cache_id.startswith(prefix)
            assert backend_of(cache_id) == backend
    assert backend_of("96ad0856-03b1-4ee7-9666-e81abd0349e1") == "redis"


def test_a_job_has_one_id_and_another_job_another() -> None:
    assert cache_id_of_job("redis", "a") == cache_id_of_job("redis", "a") != cache_id_of_job("redis", "b")
    assert backend_of(cache_id_of_job("memcached", "a")) == "memcached"


async def test_both_backends_are_reached_by_their_ids(valkey_url: str, memcached_url: str) -> None:
    caches = open_caches(valkey_url, memcached_url, MAX_BYTES)
    for cache_id in (new_cache_id("redis"), new_cache_id("memcached")):
        job = job_id()
        await caches.create(cache_id, "us-east-1", 100, None, job)
        await caches.set(cache_id, "key", cache_id, 60)
        entry = await caches.get(cache_id, "key")
        assert entry is not None and entry.value == cache_id
        await caches.update_ttl(cache_id, "key", 30)
        assert 10 <= (await caches.ttl(cache_id, "key") or 0) <= 30
        assert (await caches.list_keys(cache_id)).keys == ["key"]
        assert await caches.delete_key(cache_id, "key")
        assert (await caches.add_operations(cache_id, 5, "p")).operations_left == 99
        assert await caches.of(cache_id).get(cache_id, "key") is None
        await caches.undo(job)
        with pytest.raises(NoSuchCache):
            await caches.info(cache_id)
    await caches.ping()
    await caches.sweep()
    await caches.close()


async def test_commands_are_for_redis(valkey_url: str, memcached_url: str) -> None:
    caches = open_caches(valkey_url, memcached_url, MAX_BYTES)
    ping = [Command("PING", (), ())]
    cache_id = new_cache_id("redis")
    await caches.create(cache_id, "us-east-1", 100, None)
    assert await caches.run(cache_id, ping) == [b"PONG"]
    with pytest.raises(BadRequest):
        await caches.run(new_cache_id("memcached"), ping)
    await caches.close()


async def test_a_backend_that_is_not_configured_is_a_503_with_the_setting() -> None:
    caches = open_caches(None, None, MAX_BYTES)
    for cache_id, setting in (
        (new_cache_id("redis"), "REDIS_URL"),
        (new_cache_id("memcached"), "MEMCACHED_URL"),
    ):
        with pytest.raises(CacheUnavailable, match=setting):
            await caches.get(cache_id, "key")
    await caches.ping()
    await caches.close()
