"""Caches in Memcached, for hosts that have one. What it is made of is written in `memcached_items.py`.

Memcached has no scripts, so what is one step in Redis is several here, each of them atomic: the operation is
counted by a counter before the work, and the index is changed by compare-and-swap. What differs from Redis:

- Nothing is durable. When Memcached is full it forgets the least used keys, and with bad luck the index (then
  a list misses keys), the count (then counting starts anew) or the whole cache (then it is not found).
- A value may have 1,000,000 bytes, because an item may have 1 MiB with all that comes with it.
- `used_bytes` counts names and values, without overhead. All keys together may have about 200,000 names.
- It has no Redis commands.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from shared.caches import memcached_items as items
from shared.caches.base import CacheInfo, Entry, Page
from shared.caches.errors import (
    CacheFull,
    CacheIdTaken,
    JobUndone,
    NoSuchCache,
    NoSuchKey,
    OperationsUsedUp,
)
from shared.caches.limits import (
    checked_cache_id,
    checked_key,
    checked_page,
    checked_prefix,
    checked_region,
    checked_ttl,
    cursor_of,
    is_cache_id,
    position_of,
    ttl_s_of,
)
from shared.caches.memcached_client import MemcachedItems
from shared.caches.memcached_items import Kept, Meta, Names
from shared.caches.values import decoded, encoded
from shared.clock import Clock, system_clock
from shared.errors import BadRequest

JOB_TTL_S = 7 * 86_400
UNDONE = b"/"
"""In the place of the cache that a job made; no id has this character."""


class MemcachedCaches:
    """On one server. `max_bytes` is the most of one cache. Raises `StartupError` for a `url` that is none."""

    value_max_bytes = 1_000_000

    def __init__(self, url: str, max_bytes: int, clock: Clock = system_clock) -> None:
        self._items = MemcachedItems(url)
        self._max_bytes = max_bytes
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

    async def get(self, cache_id: str, key: str) -> Entry | None:
        _, kept = await self._find(cache_id, key)
        return None if kept is None else Entry(key, decoded(kept.value), self._ttl_s(kept))

    async def set(self, cache_id: str, key: str, value: Any, ttl_s: int | None = None) -> None:
        name, ttl_ms = checked_key(key), checked_ttl(ttl_s)
        data = encoded(value, self.value_max_bytes)
        meta = await self._admit(cache_id, (await self._look(cache_id))[0])
        kept = Kept(key, self._now_ms() + ttl_ms if ttl_ms else None, data)
        # The index first: what is not in it could not be deleted.
        await self._note(cache_id, meta, kept)
        until = items.exptime(meta.ends_ms, kept.ends_ms)
        await self._items.set(items.kept_key(cache_id, name), kept.packed(), until)

    async def delete_key(self, cache_id: str, key: str) -> bool:
        meta, kept = await self._find(cache_id, key)
        await self._items.delete(items.kept_key(cache_id, key.encode()))
        await self._index(cache_id, meta, items.part_of(key.encode()), lambda names: names.pop(key, None))
        return kept is not None

    async def ttl(self, cache_id: str, key: str) -> int | None:
        _, kept = await self._find(cache_id, key)
        if kept is None:
            raise NoSuchKey
        return self._ttl_s(kept)

    async def update_ttl(self, cache_id: str, key: str, ttl_s: int | None) -> None:
        ttl_ms = checked_ttl(ttl_s)
        meta, found = await self._find(cache_id, key)
        ends_ms = self._now_ms() + ttl_ms if ttl_ms else None

        def change(data: bytes | None) -> bytes | None:
            if data is None or found is None:
                raise NoSuchKey
            return replace(items.unpacked_kept(data), ends_ms=ends_ms).packed()

        until = items.exptime(meta.ends_ms, ends_ms)
        changed = await self._items.change(items.kept_key(cache_id, key.encode()), until, change)
        if changed is not None:
            await self._note(cache_id, meta, items.unpacked_kept(changed))

    async def list_keys(
        self, cache_id: str, cursor: str | None = None, limit: int = 100, prefix: str = ""
    ) -> Page:
        start, most = checked_prefix(prefix).decode(), checked_page(limit)
        part, after = _place(position_of(cursor))
        await self._admit(cache_id, (await self._look(cache_id))[0])
        keys: list[str] = []
        more = None
        while part < items.PARTS and more is None:
            names = items.unpacked_names(await self._items.get(items.part_key(cache_id, part)))
            alive = sorted(items.living(names, self._now_ms()))
            fitting = [name for name in alive if name > after and name.startswith(start)]
            taken = fitting[: most - len(keys)]
            keys += taken
            if len(taken) < len(fitting):
                more = cursor_of(f"{part:02}{taken[-1] if taken else after}".encode())
            part, after = part + 1, ""
        return Page(keys, more, (await self.info(cache_id)).operations_left)

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

    async def _admit(self, cache_id: str, meta: Meta) -> Meta:
        """Count one operation. Raises `OperationsUsedUp`."""
        key, until = items.used_key(cache_id), items.exptime(meta.ends_ms)
        if await self._items.count(key, 1, until) > meta.operations:
            await self._items.count(key, -1, until)
            raise OperationsUsedUp
        return meta

    async def _find(self, cache_id: str, key: str) -> tuple[Meta, Kept | None]:
        """Count, and see what is kept under a key now."""
        item = items.kept_key(cache_id, checked_key(key))
        meta, found = await self._look(cache_id, item)
        await self._admit(cache_id, meta)
        kept = items.unpacked_kept(found[item]) if item in found else None
        if kept is None or (kept.ends_ms is not None and kept.ends_ms <= self._now_ms()):
            return meta, None
        return meta, kept

    async def _note(self, cache_id: str, meta: Meta, kept: Kept) -> None:
        """Write a key into the index. Raises `CacheFull`, after what is over was taken out everywhere."""
        name = kept.name.encode()
        entry = (len(name) + len(kept.value), kept.ends_ms)

        def note(names: Names) -> None:
            names[kept.name] = entry

        try:
            await self._index(cache_id, meta, items.part_of(name), note)
        except CacheFull:
            for part in range(items.PARTS):
                await self._index(cache_id, meta, part, lambda _: None)
            await self._index(cache_id, meta, items.part_of(name), note)

    async def _index(self, cache_id: str, meta: Meta, part: int, change: Callable[[Names], object]) -> None:
        """Change a part of the index, without the names whose time is over, and count the bytes."""
        growth = 0
        until = items.exptime(meta.ends_ms)
        used = int(await self._items.get(items.bytes_key(cache_id)) or b"0")

        def changed(data: bytes | None) -> bytes | None:
            nonlocal growth
            before = items.unpacked_names(data)
            after = items.living(before, self._now_ms())
            change(after)
            growth = items.size_of(after) - items.size_of(before)
            packed = items.packed_names(after)
            if growth > 0 and (used + growth > self._max_bytes or len(packed) > items.PART_MAX_BYTES):
                raise CacheFull
            return packed

        await self._items.change(items.part_key(cache_id, part), until, changed)
        if growth:
            await self._items.count(items.bytes_key(cache_id), growth, until)

    def _job_end(self) -> int:
        return items.exptime(self._now_ms() + JOB_TTL_S * 1000)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _ttl_s(self, kept: Kept) -> int | None:
        return None if kept.ends_ms is None else ttl_s_of(kept.ends_ms - self._now_ms())


def _place(position: bytes) -> tuple[int, str]:
    """Where a list goes on: the part of the index, and after which name in it."""
    text = position.decode("utf-8", "replace") or "00"
    if not text[:2].isdecimal() or not text[:2].isascii():
        raise BadRequest("The cursor is none that a list of this cache returned.", code="invalid_cursor")
    return int(text[:2]), text[2:]
