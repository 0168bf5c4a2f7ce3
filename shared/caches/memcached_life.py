"""How a cache in Memcached begins and ends: made, told of, topped up, undone, deleted."""

from dataclasses import replace

from shared.caches import memcached_items as items
from shared.caches.base import CacheInfo
from shared.caches.errors import CacheIdTaken, NoSuchCache
from shared.caches.limits import checked_cache_id, checked_region, checked_ttl, is_cache_id
from shared.caches.memcached_client import MemcachedItems
from shared.caches.memcached_items import Meta
from shared.clock import Clock
from shared.errors import JobUndone

JOB_TTL_S = 7 * 86_400
UNDONE = b"/"
"""In the place of the cache that a job made; no id has this character."""


class MemcachedLife:
    """All that is not done on keys. `MemcachedCaches` is the whole."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._items = MemcachedItems(url)
        self._clock = clock

    async def create(
        self, cache_id: str, region: str, operations: int, ttl_s: int | None, job_id: str | None = None
    ) -> CacheInfo:
        key, now_ms, ttl_ms = items.meta_key(checked_cache_id(cache_id)), self._now_ms(), checked_ttl(ttl_s)
        ends_ms = now_ms + ttl_ms if ttl_ms else None
        meta = Meta(checked_region(region), now_ms, ends_ms, operations, job_id or "")
        if job_id is not None:
            # Ahead of the cache, so that none is made that could not be undone.
            await self._begin(job_id, cache_id)
        await self._items.add(key, meta.packed(), items.exptime(ends_ms))
        made, _ = await self._look(cache_id)
        if made.job_id != (job_id or ""):
            raise CacheIdTaken
        if job_id is not None:
            await self._check_not_undone(job_id, cache_id)
        return await self.info(cache_id)

    async def undo(self, job_id: str) -> None:
        before: bytes | None = None

        def undone(data: bytes | None) -> bytes:
            nonlocal before
            before = data
            return UNDONE

        await self._items.change(items.job_key(job_id), self._job_end(), undone)
        if before is not None and before != UNDONE:
            await self._take_back(job_id, before.decode())

    async def delete(self, cache_id: str) -> None:
        if not is_cache_id(cache_id):
            return
        await self._items.delete(items.meta_key(cache_id))
        for part in range(items.PARTS):
            key = items.part_key(cache_id, part)
            for name in items.unpacked_names(await self._items.get(key)):
                await self._items.delete(items.kept_key(cache_id, name.encode()))
            await self._items.delete(key)
        await self._items.delete(items.used_key(cache_id))
        await self._items.delete(items.bytes_key(cache_id))

    async def info(self, cache_id: str) -> CacheInfo:
        counters = items.used_key(cache_id), items.bytes_key(cache_id)
        meta, found = await self._look(cache_id, *counters)
        used, size_bytes = (int(found.get(key, b"0")) for key in counters)
        return CacheInfo(
            cache_id=cache_id,
            region=meta.region,
            operations_left=max(0, meta.operations - used),
            used_bytes=size_bytes,
            created_at=meta.created_ms / 1000,
            expires_at=None if meta.ends_ms is None else meta.ends_ms / 1000,
        )

    async def add_operations(self, cache_id: str, count: int, payment_id: str) -> CacheInfo:
        def add(data: bytes | None) -> bytes | None:
            if data is None:
                raise NoSuchCache
            meta = items.unpacked_meta(data)
            if payment_id in meta.payments:
                return None
            payments = {**meta.payments, payment_id: count}
            return replace(meta, operations=meta.operations + count, payments=payments).packed()

        meta, _ = await self._look(cache_id)
        await self._begin(payment_id, cache_id)
        await self._items.change(items.meta_key(cache_id), items.exptime(meta.ends_ms), add)
        await self._check_not_undone(payment_id, cache_id)
        return await self.info(cache_id)

    async def ping(self) -> None:
        await self._items.ping()

    async def sweep(self) -> int:
        """Memcached does it by itself: all that a cache is made of expires with it."""
        return 0

    async def close(self) -> None:
        await self._items.close()

    async def _begin(self, job_id: str, cache_id: str) -> None:
        await self._items.add(items.job_key(job_id), cache_id.encode(), self._job_end())
        await self._check_not_undone(job_id)

    async def _check_not_undone(self, job_id: str, worked_on: str | None = None) -> None:
        if await self._items.get(items.job_key(job_id)) == UNDONE:
            if worked_on is not None:
                await self._take_back(job_id, worked_on)
            raise JobUndone

    async def _take_back(self, job_id: str, cache_id: str) -> None:
        """The cache, if this job made it; the operations that it added to another job's."""
        data = await self._items.get(items.meta_key(cache_id))
        meta = None if data is None else items.unpacked_meta(data)
        if meta is None or meta.job_id == job_id:
            await self.delete(cache_id)
            return

        def take(data: bytes | None) -> bytes | None:
            if data is None or job_id not in (meta := items.unpacked_meta(data)).payments:
                return None
            others = {name: count for name, count in meta.payments.items() if name != job_id}
            left = meta.operations - meta.payments[job_id]
            return replace(meta, operations=left, payments=others).packed()

        await self._items.change(items.meta_key(cache_id), items.exptime(meta.ends_ms), take)

    async def _look(self, cache_id: str, *keys: bytes) -> tuple[Meta, dict[bytes, bytes]]:
        """The cache, and these items beside it. Raises `NoSuchCache`."""
        if not is_cache_id(cache_id):
            raise NoSuchCache
        found = await self._items.get_many(items.meta_key(cache_id), *keys)
        data = found.get(items.meta_key(cache_id))
        meta = None if data is None else items.unpacked_meta(data)
        if meta is None or (meta.ends_ms is not None and meta.ends_ms <= self._now_ms()):
            raise NoSuchCache
        return meta, found

    def _job_end(self) -> int:
        return items.exptime(self._now_ms() + JOB_TTL_S * 1000)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
