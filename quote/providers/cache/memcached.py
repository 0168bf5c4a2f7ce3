"""A cache on this host's own Memcached, which may forget: for those who ask for it by its name."""

from collections.abc import Sequence

from quote.asks import CacheAsk
from quote.providers.base import Context, Decline, Price
from quote.providers.cache.redis import RedisCache


class MemcachedCache(RedisCache):
    """For the price of one on Redis, so it must never be chosen because it is as cheap."""

    name = "memcached"

    async def prices(self, ask: CacheAsk) -> Sequence[Price]:
        if ask.provider != self.name:
            raise Decline("it may forget: ask for it with provider memcached")
        return await super().prices(ask)


def provider(context: Context) -> MemcachedCache:
    return MemcachedCache(context)
