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
from shared.caches.base import Entry, Page
from shared.caches.errors import CacheFull, NoSuchKey, OperationsUsedUp
from shared.caches.limits import (
    checked_key,
    checked_page,
    checked_prefix,
    checked_ttl,
    cursor_of,
    position_of,
    ttl_s_of,
)
from shared.caches.memcached_items import Kept, Meta, Names
from shared.caches.memcached_life import MemcachedLife
from shared.caches.values import decoded, encoded
from shared.clock import Clock, system_clock
from shared.errors import BadRequest


class MemcachedCaches(MemcachedLife):
    """On one server. `max_bytes` is the most of one cache. Raises `StartupError` for a `url` that is none."""

    value_max_bytes = 1_000_000

    def __init__(self, url: str, max_bytes: int, clock: Clock = system_clock) -> None:
        super().__init__(url, clock)
        self._max_bytes = max_bytes

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

    def _ttl_s(self, kept: Kept) -> int | None:
        return None if kept.ends_ms is None else ttl_s_of(kept.ends_ms - self._now_ms())


def _place(position: bytes) -> tuple[int, str]:
    """Where a list goes on: the part of the index, and after which name in it."""
    text = position.decode("utf-8", "replace") or "00"
    if not text[:2].isdecimal() or not text[:2].isascii():
        raise BadRequest("The cursor is none that a list of this cache returned.", code="invalid_cursor")
    return int(text[:2]), text[2:]
