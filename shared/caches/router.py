"""All caches of a host: an id tells which backend keeps it."""

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from shared.caches.base import Backend, CacheInfo, Caches, Entry, Page, RunsCommands
from shared.caches.command import Command, Reply
from shared.caches.errors import CacheUnavailable
from shared.caches.limits import VALUE_MAX_BYTES
from shared.caches.memcached import MemcachedCaches
from shared.caches.redis import RedisCaches
from shared.caches.xcache import PREFIX, XcacheCaches
from shared.errors import BadRequest

_PREFIXES: dict[Backend, str] = {"redis": "rd", "memcached": "mc", "xcache": PREFIX}
_OFF: dict[Backend, str] = {
    "redis": "REDIS_URL is not set",
    "memcached": "MEMCACHED_URL is not set",
    "xcache": "REMOTE_PROVIDERS is without xcache",
}


class RedisAndCommands(Caches, RunsCommands, Protocol):
    """What Redis offers."""


class CacheRouter:
    """`Caches` and `RunsCommands` over the backends that are configured.

    An id of a backend that is not raises `CacheUnavailable`; a command to any but Redis raises `BadRequest`.
    """

    value_max_bytes = VALUE_MAX_BYTES

    def __init__(self, backends: Mapping[Backend, Caches]) -> None:
        self.backends = backends

    def of(self, cache_id: str) -> Caches:
        """Raises `CacheUnavailable`."""
        backend = backend_of(cache_id)
        if backend not in self.backends:
            raise CacheUnavailable(f"Caches of this kind are off here: {_OFF[backend]}.")
        return self.backends[backend]

    async def create(
        self, cache_id: str, region: str, operations: int, ttl_s: int | None, job_id: str | None = None
    ) -> CacheInfo:
        return await self.of(cache_id).create(cache_id, region, operations, ttl_s, job_id)

    async def undo(self, job_id: str) -> None:
        for backend in self.backends.values():
            await backend.undo(job_id)

    async def delete(self, cache_id: str) -> None:
        await self.of(cache_id).delete(cache_id)

    async def info(self, cache_id: str) -> CacheInfo:
        return await self.of(cache_id).info(cache_id)

    async def add_operations(self, cache_id: str, count: int, payment_id: str) -> CacheInfo:
        return await self.of(cache_id).add_operations(cache_id, count, payment_id)

    async def get(self, cache_id: str, key: str) -> Entry | None:
        return await self.of(cache_id).get(cache_id, key)

    async def set(self, cache_id: str, key: str, value: Any, ttl_s: int | None = None) -> None:
        await self.of(cache_id).set(cache_id, key, value, ttl_s)

    async def delete_key(self, cache_id: str, key: str) -> bool:
        return await self.of(cache_id).delete_key(cache_id, key)

    async def ttl(self, cache_id: str, key: str) -> int | None:
        return await self.of(cache_id).ttl(cache_id, key)

    async def update_ttl(self, cache_id: str, key: str, ttl_s: int | None) -> None:
        await self.of(cache_id).update_ttl(cache_id, key, ttl_s)

    async def list_keys(
        self, cache_id: str, cursor: str | None = None, limit: int = 100, prefix: str = ""
    ) -> Page:
        return await self.of(cache_id).list_keys(cache_id, cursor, limit, prefix)

    async def run(self, cache_id: str, commands: Sequence[Command]) -> list[Reply]:
        caches = self.of(cache_id)
        if (backend := backend_of(cache_id)) != "redis":
            raise BadRequest(
                f"This cache is kept in {backend}, which has no Redis commands here.", code="no_commands"
            )
        return await cast(RedisAndCommands, caches).run(cache_id, commands)

    async def ping(self) -> None:
        for backend in self.backends.values():
            await backend.ping()

    async def sweep(self) -> int:
        return sum([await backend.sweep() for backend in self.backends.values()])

    async def close(self) -> None:
        for backend in self.backends.values():
            await backend.close()


def backend_of(cache_id: str) -> Backend:
    """Ids that begin with `mc` are Memcached's, with `xc` xcache's, all others are Redis's."""
    for backend, prefix in _PREFIXES.items():
        if cache_id.startswith(prefix):
            return backend
    return "redis"


def new_cache_id(backend: Backend) -> str:
    """The backend's two letters and 22 random characters that are safe in a URL."""
    return _PREFIXES[backend] + secrets.token_urlsafe(16)


def cache_id_of_job(backend: Backend, job_id: str) -> str:
    """The same form, always the same for one job. Ids are no secrets: a cache is opened by its token."""
    digest = hashlib.sha256(job_id.encode()).digest()[:16]
    return _PREFIXES[backend] + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def open_caches(
    redis_url: str | None, memcached_url: str | None, max_bytes: int, xcache_url: str | None = None
) -> CacheRouter:
    """Connects when a cache is used. Raises `StartupError` for an address that is none."""
    backends: dict[Backend, Caches] = {}
    if redis_url:
        backends["redis"] = RedisCaches(redis_url, max_bytes)
    if memcached_url:
        backends["memcached"] = MemcachedCaches(memcached_url, max_bytes)
    if xcache_url:
        backends["xcache"] = XcacheCaches(xcache_url)
    return CacheRouter(backends)
