"""A cache that is there: keys and values, and commands as Redis has them."""

from typing import Any
from urllib.parse import quote

from galaksio.asks import Asks
from galaksio.errors import BadAnswer, RequestRefused
from galaksio.prices import Usd
from galaksio.results import BoughtCache, ToppedUp, read
from shared.caches.limits import OPERATIONS_INCLUDED, PAGE_MAX
from shared.caches.wire import CacheEntry, CacheKeys, CacheTtl, CacheTtlSet

NO_SUCH_KEY = "key_not_found"
MAX_KEYS = 100_000


class AsyncCache:
    """One cache at the client's broker.

    Each call uses one of its operations; when they are used up, calls raise `RequestRefused` with the code
    `operations_used_up` until `top_up`. Whoever has the token can do all of this.
    """

    def __init__(self, asks: Asks, cache_id: str, token: str, bought: BoughtCache | None = None) -> None:
        self.id = cache_id
        self.token = token
        self._bought = bought
        self._asks = asks
        self._path = f"/cache/{quote(cache_id, safe='')}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    @property
    def bought(self) -> BoughtCache:
        """Its price, receipt and address. Raises `LookupError` for a cache that this client did not buy."""
        if self._bought is None:
            raise LookupError(f"{self.id} was bought elsewhere")
        return self._bought

    async def get(self, key: str, default: Any = None) -> Any:
        """The JSON value under a key; `default` where there is none."""
        try:
            return read(CacheEntry, await self._call("GET", _in_path(key))).value
        except RequestRefused as exc:
            if exc.code == NO_SUCH_KEY:
                return default
            raise

    async def set(self, key: str, value: Any, *, ttl: int | None = None) -> None:
        """Keep any JSON `value` under a key, for `ttl` seconds or without an end."""
        await self._call("PUT", _in_path(key), json={"value": value, "ttl": ttl})

    async def delete(self, key: str) -> None:
        """Remove a key; one that is not there is no error."""
        await self._call("DELETE", _in_path(key))

    async def keys(self, prefix: str = "", *, limit: int = 1000) -> list[str]:
        """The names of at most `limit` keys, at most 100,000; an operation a thousand."""
        found: list[str] = []
        asked: dict[str, Any] = {"prefix": prefix}
        for _ in range(MAX_KEYS // PAGE_MAX):
            wanted = min(limit - len(found), PAGE_MAX)
            page = read(CacheKeys, await self._call("GET", params={**asked, "limit": wanted}))
            found += page.keys
            if page.cursor is None or len(found) >= limit:
                break
            asked["cursor"] = page.cursor
        return found[:limit]

    async def ttl(self, key: str) -> int | None:
        """Seconds until a key expires, None for one that stays. A key that is not there is refused (404)."""
        return read(CacheTtl, await self._call("GET", f"{_in_path(key)}/ttl")).ttl

    async def set_ttl(self, key: str, ttl: int | None) -> None:
        """Let a key expire in `ttl` seconds, or never."""
        read(CacheTtlSet, await self._call("PUT", f"{_in_path(key)}/ttl", json={"ttl": ttl}))

    async def command(self, *words: str | int | float) -> Any:
        """What a Redis command replies: `command("INCRBY", "visits", 3)`. Raises `Error` as it refuses."""
        reply = await self._call("POST", json=list(words))
        answer = reply.json()
        if not isinstance(answer, dict) or "result" not in answer:
            raise BadAnswer("The cache's reply was not understood.", reply.said())
        return answer["result"]

    async def top_up(
        self,
        operations: int = OPERATIONS_INCLUDED,
        *,
        max_cost_usd: Usd | None = None,
        payment_id: str | None = None,
    ) -> ToppedUp:
        """Pay for more operations."""
        return await self._asks.top_up(self.id, operations, self._asks.terms(max_cost_usd, payment_id))

    async def _call(self, method: str, path: str = "", **content: Any) -> Any:
        bearer = {"Authorization": f"Bearer {self.token}"}
        return await self._asks.call(method, self._path + path, headers=bearer, **content)


def _in_path(key: str) -> str:
    """Dots and slashes are encoded too: a key may be "..", which is no way up, or end in /ttl."""
    return "/" + quote(key, safe="").replace(".", "%2E")
