"""How a cache in Redis begins and ends: made, told of, topped up, undone, deleted, swept."""

import time
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from shared.caches.base import CacheInfo
from shared.caches.errors import CacheIdTaken, NoSuchCache
from shared.caches.limits import checked_cache_id, checked_region, checked_ttl, is_cache_id
from shared.caches.redis_wire import (
    ENDS,
    info_of,
    job_key,
    key_of,
    keys_of,
    meta_key,
    prefix_of,
    redis_errors,
)
from shared.caches.scripts import command, script
from shared.errors import JobUndone, StartupError

TIMEOUT_S = 5.0
CONNECTIONS = 64
DELETE_BATCH = 500
SWEEP_BATCH = 100
JOB_TTL_S = 7 * 86_400
UNDONE = b"/"
"""In the place of the cache that a job made; no id has this character."""

_CREATE, _DELETE = script("create"), script("delete")
_ADD_OPERATIONS, _TAKE_OPERATIONS = script("add_operations"), script("take_operations")


class RedisLife:
    """The connections, and all that is not done on keys. `RedisCaches` is the whole."""

    def __init__(self, url: str) -> None:
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=TIMEOUT_S,
                socket_timeout=TIMEOUT_S,
                socket_connect_timeout=TIMEOUT_S,
                # Never sent again by itself: an answer that was lost says nothing about what was done.
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError:
            raise StartupError("REDIS_URL must begin with redis://, rediss:// or unix://.") from None
        self._redis = Redis.from_pool(pool)

    async def create(
        self, cache_id: str, region: str, operations: int, ttl_s: int | None, job_id: str | None = None
    ) -> CacheInfo:
        keys = (key_of(checked_cache_id(cache_id), "m"),)
        region, ttl_ms = checked_region(region), checked_ttl(ttl_s)
        with redis_errors:
            if job_id is not None:
                # Ahead of the cache, so that none is made that could not be undone.
                await self._begin(job_id, cache_id)
            if ttl_ms:
                # Ahead of it too, so that none is forgotten; too late an end only delays the sweeper.
                ends_ms = int(time.time() * 1000) + ttl_ms
                await self._redis.zadd(ENDS, {cache_id: ends_ms}, gt=True)
            *made, maker = await _CREATE.run(self._redis, keys, region, operations, ttl_ms, job_id or "")
            if maker.decode() != (job_id or ""):
                raise CacheIdTaken
            if job_id is not None:
                await self._check_not_undone(job_id, cache_id)
        return info_of(cache_id, made)

    async def undo(self, job_id: str) -> None:
        with redis_errors:
            found: Any = await self._redis.set(job_key(job_id), UNDONE, ex=JOB_TTL_S, get=True)
            if found not in (None, UNDONE):
                await self._take_back(job_id, found.decode())

    async def delete(self, cache_id: str) -> None:
        if is_cache_id(cache_id):
            with redis_errors:
                await self._remove(cache_id, spare_living=False)

    async def info(self, cache_id: str) -> CacheInfo:
        with redis_errors:
            found = await command(
                self._redis, "HMGET", meta_key(cache_id), "region", "left", "used", "created", "ends"
            )
        if found[0] is None:
            raise NoSuchCache
        return info_of(cache_id, found)

    async def add_operations(self, cache_id: str, count: int, payment_id: str) -> CacheInfo:
        with redis_errors:
            await self._begin(payment_id, cache_id)
            added = await _ADD_OPERATIONS.run(self._redis, _account(cache_id), count, payment_id)
            await self._check_not_undone(payment_id, cache_id)
        return info_of(cache_id, added)

    async def ping(self) -> None:
        with redis_errors:
            await command(self._redis, "PING")

    async def sweep(self) -> int:
        """At most a hundred caches at a time."""
        with redis_errors:
            now_ms = int(time.time() * 1000)
            over = await command(self._redis, "ZRANGEBYSCORE", ENDS, "-inf", now_ms, "LIMIT", 0, SWEEP_BATCH)
            for cache_id in over:
                await self._sweep(cache_id.decode(), now_ms)
        return len(over)

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _sweep(self, cache_id: str, now_ms: int) -> None:
        """Clocks differ a little: a cache that still lives is looked at again when it ends."""
        ttl_ms = await command(self._redis, "PTTL", meta_key(cache_id))
        if ttl_ms > 0:
            await self._redis.zadd(ENDS, {cache_id: now_ms + ttl_ms})
        else:
            await self._remove(cache_id, spare_living=True)

    async def _begin(self, job_id: str, cache_id: str) -> None:
        await self._redis.set(job_key(job_id), cache_id, ex=JOB_TTL_S, nx=True)
        await self._check_not_undone(job_id)

    async def _check_not_undone(self, job_id: str, worked_on: str | None = None) -> None:
        if await command(self._redis, "GET", job_key(job_id)) == UNDONE:
            if worked_on is not None:
                await self._take_back(job_id, worked_on)
            raise JobUndone

    async def _take_back(self, job_id: str, cache_id: str) -> None:
        """The cache, if this job made it; the operations that it added to another job's."""
        if await command(self._redis, "HGET", meta_key(cache_id), "job") in (None, job_id.encode()):
            await self._remove(cache_id, spare_living=False)
        else:
            await _TAKE_OPERATIONS.run(self._redis, _account(cache_id), job_id)

    async def _remove(self, cache_id: str, *, spare_living: bool) -> None:
        keys = (*keys_of(cache_id), key_of(cache_id, "p"))
        while await _DELETE.run(self._redis, keys, prefix_of(cache_id), DELETE_BATCH, int(spare_living)):
            pass
        await self._redis.zrem(ENDS, cache_id)


def _account(cache_id: str) -> tuple[bytes, bytes]:
    """What a cache may do, and what that was paid with."""
    return meta_key(cache_id), key_of(cache_id, "p")
