"""A stand-in for xcache (providers.md): x402 v1; a cache is sold with 50,000 operations."""

import math
import time
import uuid
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from tests.upstream.shop import Shop

OPERATIONS = 50_000
MESSAGE = "Key deleted successfully"


class _Cache:
    def __init__(self, region: str) -> None:
        self.region = region
        self.operations = OPERATIONS
        self.values: dict[str, Any] = {}
        self.ends_at: dict[str, float] = {}

    def alive(self, key: str) -> bool:
        if self.ends_at.get(key, float("inf")) <= time.time():
            self.values.pop(key, None)
            self.ends_at.pop(key, None)
        return key in self.values

    def ttl_s(self, key: str) -> int | None:
        return math.ceil(round(self.ends_at[key] - time.time(), 3)) if key in self.ends_at else None

    def keep(self, key: str, ttl_s: Any) -> None:
        if isinstance(ttl_s, int):
            self.ends_at[key] = time.time() + ttl_s


class Xcache(Shop):
    """`caches` are those that were sold, by id."""

    def __init__(self, devnet_url: str) -> None:
        super().__init__("xcache", 1, 10_000, devnet_url)
        self.caches: dict[str, _Cache] = {}
        self.app.post("/create")(self._create)
        self.app.get("/{cache_id}")(self._list)
        self.app.get("/{cache_id}/{key}/ttl")(self._ttl)
        self.app.put("/{cache_id}/{key}/ttl")(self._update_ttl)
        self.app.api_route("/{cache_id}/{key}", methods=["GET", "PUT", "DELETE"])(self._entry)

    async def _create(self, request: Request) -> Response:
        body = await request.json() if await request.body() else {}

        async def work() -> dict[str, Any]:
            cache_id = str(uuid.uuid4())
            self.caches[cache_id] = _Cache(str(body.get("region") or "us-east-1"))
            return {"id": cache_id, "operations": OPERATIONS}

        return await self.sell(request, work)

    async def _list(self, cache_id: str) -> Response:
        cache = self._used(cache_id)
        if cache is None:
            return _missing("Cache not found")
        keys = [key for key in list(cache.values) if cache.alive(key)]
        return JSONResponse({"keys": keys, "count": len(keys), "operations": cache.operations})

    async def _entry(self, request: Request, cache_id: str, key: str) -> Response:
        cache = self._used(cache_id)
        if cache is None:
            return _missing("Cache not found")
        if request.method == "PUT":
            body = await request.json()
            cache.values[key] = body["value"]
            cache.ends_at.pop(key, None)
            cache.keep(key, body.get("ttl"))
        elif not cache.alive(key):
            return _missing("Key not found")
        elif request.method == "DELETE":
            del cache.values[key]
            return JSONResponse({"message": MESSAGE})
        return JSONResponse({"key": key, "value": cache.values[key], "ttl": cache.ttl_s(key)})

    async def _ttl(self, cache_id: str, key: str) -> Response:
        cache = self._used(cache_id)
        if cache is None or not cache.alive(key):
            return _missing("Key not found")
        return JSONResponse({"key": key, "ttl": cache.ttl_s(key), "unit": "seconds"})

    async def _update_ttl(self, request: Request, cache_id: str, key: str) -> Response:
        cache = self._used(cache_id)
        if cache is None or not cache.alive(key):
            return _missing("Key not found")
        cache.keep(key, (await request.json())["ttl"])
        return JSONResponse({"key": key, "ttl": cache.ttl_s(key)})

    def _used(self, cache_id: str) -> _Cache | None:
        cache = self.caches.get(cache_id)
        if cache is not None:
            cache.operations -= 1
        return cache


def _missing(text: str) -> Response:
    return JSONResponse({"error": text}, 404)
