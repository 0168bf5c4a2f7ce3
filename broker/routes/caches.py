"""The data plane of caches: `GET/PUT/DELETE /cache/{cacheId}/{key}`, lists, and `…/{key}/ttl`.

A key is the rest of the path, percent-decoded once; one that ends in `/ttl` is written with `%2Fttl`.
"""

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from broker.caches.entries import entry_of, list_ask_of, ttl_of
from broker.caches.route import CacheRequest, CacheRoute
from broker.routes.schemas import ErrorBody
from shared.caches.errors import NoSuchKey
from shared.errors import error_response

router = APIRouter(route_class=CacheRoute, tags=["cache"])

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "A key, value or ttl that cannot be, or one of another type"},
    401: {"model": ErrorBody, "description": "No token, or not the one of this cache"},
    402: {
        "model": ErrorBody,
        "description": "Its operations are used up: `topUpUrl` sells more",
    },
    404: {"model": ErrorBody, "description": "No such key, or the cache has expired"},
}


@router.get("/cache/{cache_id}/{key:path}", responses=ERRORS)
async def get(request: CacheRequest) -> Response:
    """The value under a key, any JSON, and the seconds that are left of it."""
    if request.asks_for_ttl:
        return await ttl(request)
    entry = await request.caches.get(request.cache_id, request.key)
    # Returned, not raised: it has used an operation, and does not count towards the address's limit.
    if entry is None:
        return error_response(NoSuchKey())
    return _answer({"key": entry.key, "value": entry.value, "ttl": entry.ttl_s})


@router.put("/cache/{cache_id}/{key:path}", responses=ERRORS)
async def put(request: CacheRequest) -> Response:
    """Keep `{"value": any JSON, "ttl": seconds or nothing}` under a key."""
    if request.asks_for_ttl:
        return await update_ttl(request)
    key, entry = request.key, await entry_of(request)
    await request.caches.set(request.cache_id, key, entry.value, entry.ttl_s)
    return _answer({"key": key, "value": entry.value, "ttl": entry.ttl_s})


@router.delete("/cache/{cache_id}/{key:path}", responses=ERRORS)
async def delete(request: CacheRequest) -> Response:
    """Remove a key."""
    if not await request.caches.delete_key(request.cache_id, request.key):
        return error_response(NoSuchKey())
    return _answer({"message": "Key deleted"})


@router.get("/cache/{cache_id}", responses=ERRORS)
async def keys(request: CacheRequest) -> Response:
    """Names of keys, by `?prefix=`, at most `?limit=`; `cursor` asks for the next ones until it is null."""
    ask = list_ask_of(request)
    page = await request.caches.list_keys(request.cache_id, ask.cursor, ask.limit, ask.prefix)
    return _answer(
        {
            "keys": page.keys,
            "count": len(page.keys),
            "operations": page.operations_left,
            "cursor": page.cursor,
        }
    )


# These two are called by `get` and `put`, whose pattern takes every path of theirs: whether one that ends in
# `/ttl` means it, only the path as it was sent can tell. And so the commonest route is the first to be tried.
@router.get("/cache/{cache_id}/{key:path}/ttl", responses=ERRORS)
async def ttl(request: CacheRequest) -> Response:
    """The seconds until the key expires, null for one that stays."""
    key = request.key_before_ttl
    try:
        left_s = await request.caches.ttl(request.cache_id, key)
    except NoSuchKey as exc:
        return error_response(exc)
    return _answer({"key": key, "ttl": left_s, "unit": "seconds"})


@router.put("/cache/{cache_id}/{key:path}/ttl", responses=ERRORS)
async def update_ttl(request: CacheRequest) -> Response:
    """Set the ttl, `{"ttl": seconds}`, or take it away, `{"ttl": null}`."""
    key, ttl_s = request.key_before_ttl, await ttl_of(request)
    try:
        await request.caches.update_ttl(request.cache_id, key, ttl_s)
    except NoSuchKey as exc:
        return error_response(exc)
    return _answer({"key": key, "ttl": ttl_s})


def _answer(body: dict[str, Any]) -> Response:
    return JSONResponse(body, headers={"Cache-Control": "no-store"})
