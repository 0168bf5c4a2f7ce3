"""Caches in Redis or Valkey: every operation is one Lua script, so one round trip and one atomic step.

What a cache is made of is written in `lua/prelude.lua`. All its keys carry the hash tag of its id, so a
tenant can name none but its own. Needs Redis 6.2 or Valkey.
"""

from collections.abc import Sequence
from typing import Any

from shared.caches.base import Entry, Page
from shared.caches.command import Command, Reply
from shared.caches.errors import NoSuchKey
from shared.caches.limits import (
    VALUE_MAX_BYTES,
    checked_key,
    checked_page,
    checked_prefix,
    checked_ttl,
    cursor_of,
    position_of,
)
from shared.caches.redis_life import RedisLife
from shared.caches.redis_wire import (
    failed_with,
    keys_of,
    meta_key,
    packed,
    prefix_of,
    redis_errors,
    seconds_of,
)
from shared.caches.scripts import script
from shared.caches.values import decoded, encoded

_GET, _SET, _TTL, _UPDATE_TTL = script("get"), script("set"), script("ttl"), script("update_ttl")
_DELETE_KEY, _LIST, _RUN = script("delete_key"), script("list"), script("run")


class RedisCaches(RedisLife):
    """`url` as redis-py reads it: redis://, rediss://, unix://; raises `StartupError` for any other.

    Connects when it is used. `max_bytes` is the most of one cache.
    It counts what the server says that keys and values take, with its overhead (MEMORY USAGE, a sample for
    hashes, lists and sets). A command may overshoot it once, by what it makes.
    """

    value_max_bytes = VALUE_MAX_BYTES

    def __init__(self, url: str, max_bytes: int) -> None:
        super().__init__(url)
        self._max_bytes = max_bytes

    async def get(self, cache_id: str, key: str) -> Entry | None:
        keys = (meta_key(cache_id), prefix_of(cache_id) + checked_key(key))
        with redis_errors:
            found = await _GET.run(self._redis, keys)
        return None if found is None else Entry(key, decoded(found[0]), seconds_of(found[1]))

    async def set(self, cache_id: str, key: str, value: Any, ttl_s: int | None = None) -> None:
        name, ttl_ms = checked_key(key), checked_ttl(ttl_s)
        data = encoded(value, self.value_max_bytes)
        with redis_errors:
            await _SET.run(self._redis, keys_of(cache_id, name), name, data, ttl_ms, self._max_bytes)

    async def delete_key(self, cache_id: str, key: str) -> bool:
        name = checked_key(key)
        with redis_errors:
            return bool(await _DELETE_KEY.run(self._redis, keys_of(cache_id, name), name))

    async def ttl(self, cache_id: str, key: str) -> int | None:
        keys = (meta_key(cache_id), prefix_of(cache_id) + checked_key(key))
        with redis_errors:
            ttl_ms = await _TTL.run(self._redis, keys)
        if ttl_ms == -2:
            raise NoSuchKey
        return seconds_of(ttl_ms)

    async def update_ttl(self, cache_id: str, key: str, ttl_s: int | None) -> None:
        name, ttl_ms = checked_key(key), checked_ttl(ttl_s)
        with redis_errors:
            found = await _UPDATE_TTL.run(self._redis, keys_of(cache_id, name), name, ttl_ms)
        if not found:
            raise NoSuchKey

    async def list_keys(
        self, cache_id: str, cursor: str | None = None, limit: int = 100, prefix: str = ""
    ) -> Page:
        start, after, most = checked_prefix(prefix), position_of(cursor), checked_page(limit)
        begin = b"(" + after if after >= start and after else b"[" + start if start else b"-"
        end = b"(" + start + b"\xff" if start else b"+"  # no UTF-8 has this byte
        with redis_errors:
            left, more, names = await _LIST.run(
                self._redis, keys_of(cache_id), prefix_of(cache_id), begin, end, most
            )
        return Page([name.decode() for name in names], cursor_of(more) if more else None, left)

    async def run(self, cache_id: str, commands: Sequence[Command]) -> list[Reply]:
        keys, words = packed(cache_id, commands)
        args = (prefix_of(cache_id), self._max_bytes, len(commands), *words)
        with redis_errors:
            replies = await _RUN.run(self._redis, keys, *args)
        prefix = prefix_of(cache_id)
        pairs = zip(replies[::2], replies[1::2], strict=True)
        return [failed_with(reply, prefix) if failed else reply for failed, reply in pairs]
