"""What the providers of caches share: the seven operations, and a look at the server in the background."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import cast

from pydantic import BaseModel

from executor.providers.base import ProviderStatus, Task
from shared.caches.base import Backend, Caches
from shared.caches.errors import CacheUnavailable, NoSuchKey
from shared.caches.limits import OPERATIONS_INCLUDED
from shared.caches.router import backend_of, cache_id_of_job
from shared.caches.task import CacheTask, Operation
from shared.caches.wire import (
    CacheCreated,
    CacheEntry,
    CacheKeys,
    CacheMessage,
    CacheToppedUp,
    CacheTtl,
    CacheTtlSet,
)
from shared.clock import Clock, system_clock
from shared.errors import BadRequest
from shared.logs import get_logger

log = get_logger(__name__)

LOOK_EVERY_S = 5.0
LOOK_TIMEOUT_S = 2.0
SWEEP_EVERY = 12
"""Looks."""


class CacheProvider:
    """Caches on one backend; `caches` is None where the host has not set `setting`."""

    kind = "cache"

    def __init__(
        self, name: Backend, caches: Caches | None, setting: str, clock: Clock = system_clock
    ) -> None:
        self.name = name
        self._caches = caches
        self._off = f"{setting} is not set"
        self._failure = ""
        self._clock = clock
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        if self._caches is not None:
            await self._look(self._caches)
            self._watch = asyncio.create_task(self._keep_looking(self._caches))

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        if self._caches is not None:
            await self._caches.close()

    def status(self) -> ProviderStatus:
        if self._caches is None:
            return ProviderStatus(name=self.name, kind=self.kind, status="disabled", reason=self._off)
        return ProviderStatus(
            name=self.name,
            kind=self.kind,
            status="unavailable" if self._failure else "available",
            reason=self._failure,
        )

    async def execute(self, task: Task) -> BaseModel:
        """Raises `CacheUnavailable`, and what `shared/caches/errors.py` lists."""
        caches, request = self._open_caches(), cast(CacheTask, task.request)
        if request.id is not None and backend_of(request.id) != self.name:
            raise BadRequest(f"The cacheId is none of {self.name}.", code="invalid_cache_id")
        if request.operation == "create":
            return await self._create(caches, request, task.job_id)
        if request.operation == "set":
            return await self._set(caches, request, task.job_id)
        if request.operation == "topup":
            return await top_up(caches, request, task.job_id)
        return await OPERATIONS[request.operation](caches, request.id or "", request.key or "", request)

    async def undo(self, job_id: str) -> None:
        """Remove the cache that this job made with all its keys, or the operations that it added."""
        if self._caches is not None:
            await self._caches.undo(job_id)

    async def _create(self, caches: Caches, request: CacheTask, job_id: str) -> CacheCreated:
        """The same job makes the same cache, also when it is run again after a crash."""
        cache_id = request.id or cache_id_of_job(self.name, job_id)
        info = await caches.create(cache_id, request.region, OPERATIONS_INCLUDED, request.ttl, job_id)
        return CacheCreated.of(info)

    async def _set(self, caches: Caches, request: CacheTask, job_id: str) -> CacheEntry:
        """Without a cache in one that is made for it, without a key as `file_<ms>` (providers.md, xcache)."""
        made = None
        if request.id is None:
            made = (await self._create(caches, request.model_copy(update={"ttl": None}), job_id)).cache_id
        key = key_of(request, self._clock)
        await caches.set(request.id or made or "", key, request.value, request.ttl)
        return CacheEntry(key=key, value=request.value, ttl=request.ttl, cache_id=made)

    def _open_caches(self) -> Caches:
        if self._caches is None:
            raise CacheUnavailable(f"Caches of this kind are off here: {self._off}.")
        return self._caches

    async def _keep_looking(self, caches: Caches) -> None:
        looks = 0
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._look(caches)
            looks += 1
            if not self._failure and looks % SWEEP_EVERY == 0:
                with suppress(CacheUnavailable):
                    await caches.sweep()

    async def _look(self, caches: Caches) -> None:
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                await caches.ping()
        except (CacheUnavailable, TimeoutError) as exc:
            if not self._failure:
                log.warning("cache_unavailable", provider=self.name, reason=str(exc))
            self._failure = str(exc) or f"no answer within {LOOK_TIMEOUT_S:.0f} s"
        else:
            self._failure = ""


def key_of(request: CacheTask, clock: Clock) -> str:
    """The key to set: the one that was named, else `file_<ms>`."""
    return request.key or f"file_{int(clock() * 1000)}"


async def top_up(caches: Caches, request: CacheTask, job_id: str) -> CacheToppedUp:
    cache_id = request.id or ""
    info = await caches.add_operations(cache_id, request.operations, job_id)
    return CacheToppedUp(cache_id=cache_id, operations=info.operations_left, added=request.operations)


async def _get(caches: Caches, cache_id: str, key: str, _: CacheTask) -> BaseModel:
    entry = await caches.get(cache_id, key)
    if entry is None:
        raise NoSuchKey
    return CacheEntry.of(entry)


async def _delete(caches: Caches, cache_id: str, key: str, _: CacheTask) -> BaseModel:
    found = await caches.delete_key(cache_id, key)
    return CacheMessage(message="Key deleted" if found else "There was no such key")


async def _list(caches: Caches, cache_id: str, _: str, request: CacheTask) -> BaseModel:
    return CacheKeys.of(await caches.list_keys(cache_id, request.cursor, request.limit, request.prefix))


async def _ttl(caches: Caches, cache_id: str, key: str, _: CacheTask) -> BaseModel:
    return CacheTtl(key=key, ttl=await caches.ttl(cache_id, key))


async def _update_ttl(caches: Caches, cache_id: str, key: str, request: CacheTask) -> BaseModel:
    await caches.update_ttl(cache_id, key, request.ttl)
    return CacheTtlSet(key=key, ttl=request.ttl)


OPERATIONS: Mapping[Operation, Callable[[Caches, str, str, CacheTask], Awaitable[BaseModel]]] = {
    "get": _get,
    "delete": _delete,
    "list": _list,
    "ttl": _ttl,
    "update-ttl": _update_ttl,
}
