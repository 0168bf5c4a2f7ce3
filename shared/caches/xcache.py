"""Caches at xcache (providers.md, Remote): what needs no payment, within the operations that were bought.

What differs from Redis: nothing is known of a cache but its keys and its operations; keys come all at once;
a ttl cannot be taken away; there are no Redis commands, and no more operations are sold here. xcache answers
404 for a key and for a cache alike, so a get in a cache that is gone finds no key.
"""

import asyncio
import math
import re
from functools import cached_property
from typing import Any
from urllib.parse import quote

import httpx

from shared.caches.base import CacheInfo, Entry, Page
from shared.caches.errors import CacheUnavailable, NoSuchCache, NoSuchKey, OperationsGone
from shared.caches.limits import VALUE_MAX_BYTES, checked_key, checked_page, checked_ttl
from shared.caches.values import encoded
from shared.errors import BadRequest
from shared.strict_json import strict_json
from shared.trust import trusted

PREFIX = "xc"
"""Before xcache's own id: of 60 characters at the most, so that ours has no more than 62."""
TIMEOUT_S = 10.0
"""For a whole answer."""
MAX_ANSWER_BYTES = 2 * 1024 * 1024
_OWN_ID = re.compile(r"[A-Za-z0-9_-]{1,60}")
_STAYS, _MISSING = -1, -2
"""What Redis says instead of a ttl."""


def is_own_id(text: object) -> bool:
    """Whether xcache can have given this id."""
    return isinstance(text, str) and _OWN_ID.fullmatch(text) is not None


def id_of_xcache(own_id: str) -> str:
    """The id under which a cache at xcache is known here."""
    return PREFIX + own_id


def check_entry(key: str, value: Any, ttl_s: int | None) -> None:
    """Raises `BadRequest`, or a 413, for what could not be kept."""
    checked_ttl(ttl_s)
    encoded(value, VALUE_MAX_BYTES)
    _named(key)


class XcacheCaches:
    """`Caches` at `base_url`, by our ids or xcache's own. Connects when it is used."""

    value_max_bytes = VALUE_MAX_BYTES

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    async def get(self, cache_id: str, key: str) -> Entry | None:
        try:
            said = await self._ask("GET", _place(cache_id, key))
        except NoSuchKey:
            return None
        if "value" not in said:
            raise _not_understood()
        return Entry(key, said["value"], _ttl_of(said.get("ttl")))

    async def set(self, cache_id: str, key: str, value: Any, ttl_s: int | None = None) -> None:
        check_entry(key, value, ttl_s)
        ttl = {} if ttl_s is None else {"ttl": ttl_s}
        await self._ask("PUT", _place(cache_id, key), {"value": value, **ttl})

    async def delete_key(self, cache_id: str, key: str) -> bool:
        try:
            await self._ask("DELETE", _place(cache_id, key))
        except NoSuchKey:
            return False
        return True

    async def ttl(self, cache_id: str, key: str) -> int | None:
        said = await self._ask("GET", _place(cache_id, key) + "/ttl")
        if "ttl" not in said or said.get("unit", "seconds") != "seconds":
            raise _not_understood()
        return _ttl_of(said["ttl"])

    async def update_ttl(self, cache_id: str, key: str, ttl_s: int | None) -> None:
        if ttl_s is None:
            raise _not_offered("xcache cannot take a ttl away: send seconds, or set the key again.")
        checked_ttl(ttl_s)
        await self._ask("PUT", _place(cache_id, key) + "/ttl", {"ttl": ttl_s})

    async def list_keys(
        self, cache_id: str, cursor: str | None = None, limit: int = 100, prefix: str = ""
    ) -> Page:
        """All keys, whatever the `limit`. Raises `BadRequest` for a cursor or a prefix."""
        checked_page(limit)
        if cursor or prefix:
            raise _not_offered("xcache lists all keys at once: send neither cursor nor prefix.")
        try:
            said = await self._ask("GET", _place(cache_id))
        except NoSuchKey:
            raise NoSuchCache from None
        keys, operations = said.get("keys"), said.get("operations")
        if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
            raise _not_understood()
        if not isinstance(operations, int) or isinstance(operations, bool):
            raise _not_understood()
        return Page(keys, None, operations)

    async def create(
        self, cache_id: str, region: str, operations: int, ttl_s: int | None, job_id: str | None = None
    ) -> CacheInfo:
        """Raises `BadRequest`: a cache at xcache is bought there, by the executor."""
        raise _not_offered("A cache at xcache is bought, and xcache chooses its id.")

    async def delete(self, cache_id: str) -> None:
        """Raises `BadRequest`."""
        raise _not_offered("A cache at xcache cannot be removed: delete its keys.")

    async def info(self, cache_id: str) -> CacheInfo:
        """Raises `BadRequest`: nothing tells it without using an operation."""
        raise _not_offered("xcache tells nothing of a cache but its keys and operations: list them.")

    async def add_operations(self, cache_id: str, count: int, payment_id: str) -> CacheInfo:
        """Raises `BadRequest`."""
        raise BadRequest(
            "No more operations are sold for a cache at xcache: make a new cache.", code="cannot_top_up"
        )

    async def undo(self, job_id: str) -> None:
        """Nothing was made here that could be taken back."""

    async def ping(self) -> None:
        """xcache is not asked: each answer that it gives would cost somebody an operation."""

    async def sweep(self) -> int:
        """What expires, expires there."""
        return 0

    async def close(self) -> None:
        if "_http" in vars(self):
            await self._http.aclose()

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        # Bodies are read as they come: one that is compressed all the same is no JSON.
        return httpx.AsyncClient(
            timeout=TIMEOUT_S,
            trust_env=False,
            verify=trusted(),
            follow_redirects=False,
            headers={"Accept-Encoding": "identity"},
        )

    async def _ask(self, method: str, place: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The object that xcache answers. Raises `NoSuchKey` for a 404."""
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._http.stream(method, f"{self._base_url}{place}", json=body) as response,
            ):
                _check(response)
                said = strict_json(await _read(response))
        except (httpx.HTTPError, TimeoutError) as exc:
            raise CacheUnavailable(f"xcache does not answer ({type(exc).__name__}).") from None
        except ValueError:
            raise _not_understood() from None
        if not isinstance(said, dict) or said.get("success") is False:
            raise _not_understood()
        return said


def _place(cache_id: str, key: str | None = None) -> str:
    """The path of a cache or of a key in it. Raises `NoSuchCache` and `BadRequest`."""
    own_id = cache_id.removeprefix(PREFIX)
    if not is_own_id(own_id):
        raise NoSuchCache
    if key is None:
        return f"/{own_id}"
    return f"/{own_id}/{_named(key)}"


def _named(key: str) -> str:
    """A key as one part of a path: even a slash in it is none of the path's."""
    name = checked_key(key)
    if not key.strip("."):
        raise BadRequest("A key at xcache must not be dots alone.", code="invalid_key")
    return quote(name, safe="")


def _check(response: httpx.Response) -> None:
    """Whether this answers what was asked. Its body is not read for anything else."""
    status = response.status_code
    if status == httpx.codes.NOT_FOUND:
        raise NoSuchKey
    if status == httpx.codes.PAYMENT_REQUIRED:
        raise OperationsGone
    if status in {400, 413, 422}:
        raise BadRequest("xcache does not take this key, value or ttl.", code="refused_by_xcache")
    if not response.is_success:
        raise _not_understood()


async def _read(response: httpx.Response) -> bytes:
    parts, size_bytes = [], 0
    async for part in response.aiter_raw():
        size_bytes += len(part)
        if size_bytes > MAX_ANSWER_BYTES:
            raise _not_understood()
        parts.append(part)
    return b"".join(parts)


def _ttl_of(said: Any) -> int | None:
    """Whole seconds, None for a key that stays. Raises `NoSuchKey`."""
    if said is None or said == _STAYS:
        return None
    if said == _MISSING:
        raise NoSuchKey
    if isinstance(said, bool) or not isinstance(said, int | float) or said < 0:
        raise _not_understood()
    return math.ceil(said)


def _not_offered(message: str) -> BadRequest:
    return BadRequest(message, code="not_offered_by_xcache")


def _not_understood() -> CacheUnavailable:
    return CacheUnavailable("xcache gave an answer that is none.")
