"""The data plane of caches: `GET/PUT/DELETE /cache/{cacheId}/{key}`, lists, and `…/{key}/ttl`.

A key is the rest of the path, percent-decoded once; one that ends in `/ttl` is written with `%2Fttl`.
"""

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from broker.caches.entries import entry_of, list_ask_of, ttl_of
from broker.caches.route import NO_STORE, CacheRequest, CacheRoute
from broker.routes.cache_schemas import CACHE_ANSWERS, LIST_QUERY, PUT_BODY, TTL_BODY, described
from shared.caches.errors import NoSuchKey
from shared.caches.wire import CacheEntry, CacheKeys, CacheMessage, CacheTtl, CacheTtlSet

router = APIRouter(route_class=CacheRoute, tags=["cache"])

KEY = "/cache/{cacheId}/{key:path}"


@router.get(KEY, response_model=CacheEntry, responses=CACHE_ANSWERS, openapi_extra=described("key"))
async def get(request: CacheRequest) -> Response:
    """The value under a key, any JSON, and the seconds that are left of it."""
    if request.asks_for_ttl:
        return await ttl(request)
    entry = await request.caches.get(request.cache_id, request.key)
    if entry is None:
        return _missing()
    return _answer({"key": entry.key, "value": entry.value, "ttl": entry.ttl_s})


@router.put(
    KEY, response_model=CacheEntry, responses=CACHE_ANSWERS, openapi_extra=described("key", body=PUT_BODY)
)
async def put(request: CacheRequest) -> Response:
    """Keep `{"value": any JSON, "ttl": seconds or nothing}` under a key."""
    if request.asks_for_ttl:
        return await update_ttl(request)
    key, entry = request.key, await entry_of(request)
    await request.caches.set(request.cache_id, key, entry.value, entry.ttl_s)
    return _answer({"key": key, "value": entry.value, "ttl": entry.ttl_s})


@router.delete(KEY, response_model=CacheMessage, responses=CACHE_ANSWERS, openapi_extra=described("key"))
async def delete(request: CacheRequest) -> Response:
    """Remove a key; one that is not there is no error."""
    found = await request.caches.delete_key(request.cache_id, request.key)
    return _answer({"message": "Key deleted" if found else "There was no such key"})


@router.get(
    "/cache/{cacheId}",
    response_model=CacheKeys,
    responses=CACHE_ANSWERS,
    openapi_extra=described(query=LIST_QUERY),
)
async def keys(request: CacheRequest) -> Response:
    """Names of keys, by `?prefix=`, at most `?limit=`; `cursor` asks for the next ones until it is null."""
    ask = list_ask_of(request)
    page = await request.caches.list_keys(request.cache_id, ask.cursor, ask.limit, ask.prefix)
    return _answer(CacheKeys.of(page).model_dump())


# These two are called by `get` and `put`, whose pattern takes every path of theirs: whether one that ends in
# `/ttl` means it, only the path as it was sent can tell. And so the commonest route is the first to be tried.
@router.get(f"{KEY}/ttl", response_model=CacheTtl, responses=CACHE_ANSWERS, openapi_extra=described("key"))
async def ttl(request: CacheRequest) -> Response:
    """The seconds until the key expires, null for one that stays."""
    key = request.key_before_ttl
    try:
        left_s = await request.caches.ttl(request.cache_id, key)
    except NoSuchKey:
        return _missing()
    return _answer({"key": key, "ttl": left_s, "unit": "seconds"})


@router.put(
    f"{KEY}/ttl",
    response_model=CacheTtlSet,
    responses=CACHE_ANSWERS,
    openapi_extra=described("key", body=TTL_BODY),
)
async def update_ttl(request: CacheRequest) -> Response:
    """Set the ttl, `{"ttl": seconds}`, or take it away, `{"ttl": null}`."""
    key, ttl_s = request.key_before_ttl, await ttl_of(request)
    try:
        await request.caches.update_ttl(request.cache_id, key, ttl_s)
    except NoSuchKey:
        return _missing()
    return _answer({"key": key, "ttl": ttl_s})


def _answer(body: dict[str, Any]) -> Response:
    return JSONResponse(body, headers=NO_STORE)


def _missing() -> Response:
    """Returned, not raised: it has used an operation, and does not count towards the address's limit."""
    exc = NoSuchKey()
    return JSONResponse(exc.body(), exc.status, headers=NO_STORE)
