"""A cache on this host's own Redis or Valkey: one price per cache."""

from typing import Any

from quote.asks import CacheAsk
from quote.providers.base import Context, EmbeddedProvider

OPERATIONS_INCLUDED = 50_000


class RedisCache(EmbeddedProvider[CacheAsk]):
    name = "redis"
    kind = "cache"

    def atomic(self, ask: CacheAsk) -> int:
        return self.settings.cache_atomic

    def metadata(self, ask: CacheAsk) -> dict[str, Any]:
        return {"region": ask.region, "operations_included": OPERATIONS_INCLUDED}


def provider(context: Context) -> RedisCache:
    return RedisCache(context)
