"""A cache on this host's own Redis or Valkey: a price for every 50,000 operations begun."""

from typing import Any

from quote.asks import CacheAsk
from quote.providers.base import Context, EmbeddedProvider
from shared.caches.limits import OPERATIONS_INCLUDED
from shared.money import ceil_div


class RedisCache(EmbeddedProvider[CacheAsk]):
    name = "redis"
    kind = "cache"

    def atomic(self, ask: CacheAsk) -> int:
        return self.settings.cache_atomic * ceil_div(ask.operations, OPERATIONS_INCLUDED)

    def metadata(self, ask: CacheAsk) -> dict[str, Any]:
        return {"region": ask.region, "operations_included": max(ask.operations, OPERATIONS_INCLUDED)}


def provider(context: Context) -> RedisCache:
    return RedisCache(context)
