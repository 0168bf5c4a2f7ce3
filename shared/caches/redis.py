"""Caches in Redis or Valkey: every operation is one Lua script, so one round trip and one atomic step.

What a cache is made of is written in `lua/prelude.lua`. All its keys carry the hash tag of its id, so a
tenant can name none but its own. Needs Redis 6.2 or Valkey.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from shared.caches.base import CacheInfo, Entry, Page
from shared.caches.command import Command, CommandFailed, Reply
from shared.caches.effects import effect_of
from shared.caches.errors import (
    CacheFull,
    CacheIdTaken,
    CacheUnavailable,
    JobUndone,
    NoSuchCache,
    NoSuchKey,
    OperationsUsedUp,
    WrongType,
)
from shared.caches.limits import (
    VALUE_MAX_BYTES,
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
from shared.caches.scripts import command, script
from shared.caches.values import decoded, encoded
from shared.errors import GalaksioError, StartupError
from shared.logs import get_logger

log = get_logger(__name__)

TIMEOUT_S = 5.0
CONNECTIONS = 64
DELETE_BATCH = 500
SWEEP_BATCH = 100
JOB_TTL_S = 7 * 86_400
UNDONE = b"/"
"""In the place of the cache that a job made; no id has this character."""
_ENDS = b"galaksio:caches:ends"
_REFUSED: dict[str, Callable[[], GalaksioError]] = {
    "NOCACHE": NoSuchCache,
    "USEDUP": OperationsUsedUp,
    "FULL": CacheFull,
    "WRONGTYPE": WrongType,
}

_GET, _SET, _TTL = script("get"), script("set"), script("ttl")
_UPDATE_TTL, _DELETE_KEY, _LIST, _RUN = (
    script("update_ttl"),
    script("delete_key"),
    script("list"),
    script("run"),
)
_CREATE, _DELETE = script("create"), script("delete")
_ADD_OPERATIONS, _TAKE_OPERATIONS = script("add_operations"), script("take_operations")


class RedisCaches:
    """`url` as redis-py reads it: redis://, rediss://, unix://; raises `StartupError` for any other.

    Connects when it is used. `max_bytes` is the most of one cache.
    It counts what the server says that keys and values take, with its overhead (MEMORY USAGE, a sample for
    hashes, lists and sets). A command may overshoot it once, by what it makes.
    """

    value_max_bytes = VALUE_MAX_BYTES

    def __init__(self, url: str, max_bytes: int) -> None:
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
        self._max_bytes = max_bytes

    async def create(
        self, cache_id: str, region: str, operations: int, ttl_s: int | None, job_id: str | None = None
    ) -> CacheInfo:
        keys = (_key(checked_cache_id(cache_id), "m"),)
        region, ttl_ms = checked_region(region), checked_ttl(ttl_s)
        with _errors:
            if job_id is not None:
                # Ahead of the cache, so that none is made that could not be undone.
                await self._begin(job_id, cache_id)
            if ttl_ms:
                # Ahead of it too, so that none is forgotten; too late an end only delays the sweeper.
                ends_ms = int(time.time() * 1000) + ttl_ms
                await self._redis.zadd(_ENDS, {cache_id: ends_ms}, gt=True)
            *made, maker = await _CREATE.run(self._redis, keys, region, operations, ttl_ms, job_id or "")
            if maker.decode() != (job_id or ""):
                raise CacheIdTaken
            if job_id is not None:
                await self._check_not_undone(job_id, cache_id)
        return _info(cache_id, made)

    async def undo(self, job_id: str) -> None:
        with _errors:
            found: Any = await self._redis.set(_job(job_id), UNDONE, ex=JOB_TTL_S, get=True)
            if found not in (None, UNDONE):
                await self._take_back(job_id, found.decode())

    async def delete(self, cache_id: str) -> None:
        if is_cache_id(cache_id):
            with _errors:
                await self._remove(cache_id, spare_living=False)

    async def info(self, cache_id: str) -> CacheInfo:
        with _errors:
            found = await command(
                self._redis, "HMGET", _meta(cache_id), "region", "left", "used", "created", "ends"
            )
        if found[0] is None:
            raise NoSuchCache
        return _info(cache_id, found)

    async def add_operations(self, cache_id: str, count: int, payment_id: str) -> CacheInfo:
        with _errors:
            await self._begin(payment_id, cache_id)
            added = await _ADD_OPERATIONS.run(self._redis, _account(cache_id), count, payment_id)
            await self._check_not_undone(payment_id, cache_id)
        return _info(cache_id, added)

    async def get(self, cache_id: str, key: str) -> Entry | None:
        keys = (_meta(cache_id), _prefix(cache_id) + checked_key(key))
        with _errors:
            found = await _GET.run(self._redis, keys)
        return None if found is None else Entry(key, decoded(found[0]), _seconds(found[1]))

    async def set(self, cache_id: str, key: str, value: Any, ttl_s: int | None = None) -> None:
        name, ttl_ms = checked_key(key), checked_ttl(ttl_s)
        data = encoded(value, self.value_max_bytes)
        with _errors:
            await _SET.run(self._redis, _keys(cache_id, name), name, data, ttl_ms, self._max_bytes)

    async def delete_key(self, cache_id: str, key: str) -> bool:
        name = checked_key(key)
        with _errors:
            return bool(await _DELETE_KEY.run(self._redis, _keys(cache_id, name), name))

    async def ttl(self, cache_id: str, key: str) -> int | None:
        keys = (_meta(cache_id), _prefix(cache_id) + checked_key(key))
        with _errors:
            ttl_ms = await _TTL.run(self._redis, keys)
        if ttl_ms == -2:
            raise NoSuchKey
        return _seconds(ttl_ms)

    async def update_ttl(self, cache_id: str, key: str, ttl_s: int | None) -> None:
        name, ttl_ms = checked_key(key), checked_ttl(ttl_s)
        with _errors:
            found = await _UPDATE_TTL.run(self._redis, _keys(cache_id, name), name, ttl_ms)
        if not found:
            raise NoSuchKey

    async def list_keys(
        self, cache_id: str, cursor: str | None = None, limit: int = 100, prefix: str = ""
    ) -> Page:
        start, after, most = checked_prefix(prefix), position_of(cursor), checked_page(limit)
        begin = b"(" + after if after >= start and after else b"[" + start if start else b"-"
        end = b"(" + start + b"\xff" if start else b"+"  # no UTF-8 has this byte
        with _errors:
            left, more, names = await _LIST.run(
                self._redis, _keys(cache_id), _prefix(cache_id), begin, end, most
            )
        return Page([name.decode() for name in names], cursor_of(more) if more else None, left)

    async def run(self, cache_id: str, commands: Sequence[Command]) -> list[Reply]:
        keys, words = _packed(cache_id, commands)
        args = (_prefix(cache_id), self._max_bytes, len(commands), *words)
        with _errors:
            replies = await _RUN.run(self._redis, keys, *args)
        prefix = _prefix(cache_id)
        pairs = zip(replies[::2], replies[1::2], strict=True)
        return [_failed(reply, prefix) if failed else reply for failed, reply in pairs]

    async def ping(self) -> None:
        with _errors:
            await command(self._redis, "PING")

    async def sweep(self) -> int:
        """At most a hundred caches at a time."""
        with _errors:
            now_ms = int(time.time() * 1000)
            over = await command(self._redis, "ZRANGEBYSCORE", _ENDS, "-inf", now_ms, "LIMIT", 0, SWEEP_BATCH)
            for cache_id in over:
                await self._remove(cache_id.decode(), spare_living=True)
        return len(over)

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _begin(self, job_id: str, cache_id: str) -> None:
        await self._redis.set(_job(job_id), cache_id, ex=JOB_TTL_S, nx=True)
        await self._check_not_undone(job_id)

    async def _check_not_undone(self, job_id: str, worked_on: str | None = None) -> None:
        if await command(self._redis, "GET", _job(job_id)) == UNDONE:
            if worked_on is not None:
                await self._take_back(job_id, worked_on)
            raise JobUndone

    async def _take_back(self, job_id: str, cache_id: str) -> None:
        """The cache, if this job made it; the operations that it added to another job's."""
        if await command(self._redis, "HGET", _meta(cache_id), "job") in (None, job_id.encode()):
            await self._remove(cache_id, spare_living=False)
        else:
            await _TAKE_OPERATIONS.run(self._redis, _account(cache_id), job_id)

    async def _remove(self, cache_id: str, *, spare_living: bool) -> None:
        keys = (*_keys(cache_id), _key(cache_id, "p"))
        while await _DELETE.run(self._redis, keys, _prefix(cache_id), DELETE_BATCH, int(spare_living)):
            pass
        await self._redis.zrem(_ENDS, cache_id)


def _account(cache_id: str) -> tuple[bytes, bytes]:
    return _meta(cache_id), _key(cache_id, "p")


def _key(cache_id: str, part: str) -> bytes:
    return f"{{{cache_id}}}:{part}".encode()


def _meta(cache_id: str) -> bytes:
    """Raises `NoSuchCache` for what can be no id, and so no part of a key."""
    if not is_cache_id(cache_id):
        raise NoSuchCache
    return _key(cache_id, "m")


def _prefix(cache_id: str) -> bytes:
    return _key(cache_id, "k:")


def _keys(cache_id: str, *names: bytes) -> tuple[bytes, ...]:
    """The four that the scripts begin with, then these of the tenant."""
    prefix = _prefix(cache_id)
    parts = (_key(cache_id, part) for part in ("i", "s", "e"))
    return (_meta(cache_id), *parts, *(prefix + name for name in names))


def _job(job_id: str) -> str:
    return f"galaksio:caches:job:{job_id}"


def _packed(cache_id: str, commands: Sequence[Command]) -> tuple[tuple[bytes, ...], list[bytes | str | int]]:
    """All keys, and the commands as `lua/run.lua` reads them, with numbers in the places of keys."""
    numbers: dict[bytes, int] = {}
    words: list[bytes | str | int] = []
    for one in commands:
        args: list[bytes | int] = list(one.args)
        for position in one.key_positions:
            args[position] = numbers.setdefault(one.args[position], len(numbers) + 5)
        positions = [position + 2 for position in one.key_positions]
        words += [effect_of(one.name), len(args) + 1, len(positions), *positions, one.name, *args]
    return _keys(cache_id, *numbers), words


def _failed(text: bytes, prefix: bytes) -> CommandFailed:
    return CommandFailed(text.replace(prefix, b"").decode("utf-8", "replace"))


def _seconds(ttl_ms: int) -> int | None:
    return None if ttl_ms < 0 else ttl_s_of(ttl_ms)


def _info(cache_id: str, fields: Sequence[bytes]) -> CacheInfo:
    region, left, used, created_ms, ends_ms = fields
    return CacheInfo(
        cache_id=cache_id,
        region=region.decode(),
        operations_left=int(left),
        used_bytes=int(used),
        created_at=int(created_ms) / 1000,
        expires_at=int(ends_ms) / 1000 if int(ends_ms) else None,
    )


class _Errors:
    """What a script refuses, and what Redis itself could not do, in our words. A class: it is cheaper."""

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> None:
        if isinstance(exc, ResponseError):
            refused = _REFUSED.get(str(exc).partition(" ")[0])
            if refused is not None:
                raise refused() from None
            log.error("cache_failed", reason=str(exc))
            raise CacheUnavailable from None
        if isinstance(exc, RedisError | OSError):
            raise CacheUnavailable(f"Redis does not answer ({type(exc).__name__}).") from None


_errors = _Errors()
