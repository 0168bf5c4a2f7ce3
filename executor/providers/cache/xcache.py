"""Caches at xcache: a new one is bought there, and used within the operations that came with it."""

from typing import cast

from pydantic import BaseModel

from executor.providers.base import Context, Task
from executor.providers.cache.base import OPERATIONS, key_of, top_up
from executor.providers.remote import Remote, paid
from executor.upstream.base import Order
from executor.upstream.errors import UpstreamOff
from shared.caches.base import Caches
from shared.caches.limits import OPERATIONS_INCLUDED, checked_region
from shared.caches.task import CacheTask
from shared.caches.wire import CacheEntry, CreatedAtXcache
from shared.caches.xcache import XcacheCaches, check_entry, is_own_id
from shared.clock import Clock, system_clock
from shared.errors import BadRequest

CREATE_TIMEOUT_S = 30.0


class Xcache(Remote):
    """Gives xcache's own ids, as seed 001 has it, and takes them with the broker's prefix as well."""

    kind = "cache"

    def __init__(self, context: Context, clock: Clock = system_clock) -> None:
        super().__init__(context, "xcache")
        self._url = context.settings.xcache_url
        self._caches: Caches = XcacheCaches(self._url)
        self._clock = clock

    async def close(self) -> None:
        await self._caches.close()

    async def execute(self, task: Task) -> BaseModel:
        """Raises `UpstreamError`, `CacheUnavailable`, and what `shared/caches/errors.py` lists."""
        request = cast(CacheTask, task.request)
        if not self._chosen:
            raise UpstreamOff(f"xcache is off here: {self._off()}.")
        if request.operation == "create":
            if request.id is not None:
                raise BadRequest("xcache chooses the id of a new cache.", code="invalid_cache_id")
            return await self._create(task, request)
        if request.operation == "set":
            return await self._set(task, request)
        if request.operation == "topup":
            return await top_up(self._caches, request, task.job_id)
        cache_id, key = request.id or "", request.key or ""
        return await OPERATIONS[request.operation](self._caches, cache_id, key, request)

    async def _create(self, task: Task, request: CacheTask) -> CreatedAtXcache:
        """A new cache. It has no end: a ttl that was asked for a whole cache is unknown to xcache."""
        region = checked_region(request.region.strip().lower())
        order = Order(
            "POST",
            f"{self._url}/create",
            step="create",
            json={"region": region},
            timeout_s=CREATE_TIMEOUT_S,
        )
        with self._judged():
            answer = await self._buy(task, order)
            said = self._object(answer.body)
            cache_id, operations = said.get("id"), said.get("operations", OPERATIONS_INCLUDED)
            if not is_own_id(cache_id) or not isinstance(operations, int) or isinstance(operations, bool):
                raise self._refused("answered without the id of a cache")
        return CreatedAtXcache(
            cache_id=str(cache_id),
            region=region,
            operations=operations,
            expires_at=None,
            upstream=paid(answer.receipt),
        )

    async def _set(self, task: Task, request: CacheTask) -> CacheEntry:
        """Without a cache in one that is bought for it, without a key as `file_<ms>` (providers.md)."""
        key = key_of(request, self._clock)
        check_entry(key, request.value, request.ttl)
        made = None if request.id is not None else (await self._create(task, request)).cache_id
        await self._caches.set(request.id or made or "", key, request.value, request.ttl)
        return CacheEntry(key=key, value=request.value, ttl=request.ttl, cache_id=made)


def provider(context: Context) -> Xcache:
    return Xcache(context)
