"""`AsyncCache` for programs without an event loop."""

from typing import Any

from galaksio.acache import AsyncCache
from galaksio.portal import Portal
from galaksio.prices import Usd
from galaksio.results import BoughtCache, ToppedUp
from shared.caches.limits import OPERATIONS_INCLUDED


class Cache:
    """As `AsyncCache`; works until its client is closed."""

    def __init__(self, portal: Portal, cache: AsyncCache) -> None:
        self._portal = portal
        self._cache = cache

    def __repr__(self) -> str:
        return f"<Cache {self.id}>"

    @property
    def id(self) -> str:
        return self._cache.id

    @property
    def token(self) -> str:
        return self._cache.token

    @property
    def bought(self) -> BoughtCache:
        """As `AsyncCache.bought`."""
        return self._cache.bought

    def get(self, key: str, default: Any = None) -> Any:
        """As `AsyncCache.get`."""
        return self._portal.run(self._cache.get(key, default))

    def set(self, key: str, value: Any, *, ttl: int | None = None) -> None:
        """As `AsyncCache.set`."""
        self._portal.run(self._cache.set(key, value, ttl=ttl))

    def delete(self, key: str) -> None:
        """As `AsyncCache.delete`."""
        self._portal.run(self._cache.delete(key))

    def keys(self, prefix: str = "", *, limit: int = 1000) -> list[str]:
        """As `AsyncCache.keys`."""
        return self._portal.run(self._cache.keys(prefix, limit=limit))

    def ttl(self, key: str) -> int | None:
        """As `AsyncCache.ttl`."""
        return self._portal.run(self._cache.ttl(key))

    def set_ttl(self, key: str, ttl: int | None) -> None:
        """As `AsyncCache.set_ttl`."""
        self._portal.run(self._cache.set_ttl(key, ttl))

    def command(self, *words: str | int | float) -> Any:
        """As `AsyncCache.command`."""
        return self._portal.run(self._cache.command(*words))

    def top_up(
        self,
        operations: int = OPERATIONS_INCLUDED,
        *,
        max_cost_usd: Usd | None = None,
        payment_id: str | None = None,
    ) -> ToppedUp:
        """As `AsyncCache.top_up`."""
        bought = self._cache.top_up(operations, max_cost_usd=max_cost_usd, payment_id=payment_id)
        return self._portal.run(bought)
