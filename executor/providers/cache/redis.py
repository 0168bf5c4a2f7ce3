"""Caches in the host's Redis or Valkey."""

from executor.providers.base import Context
from executor.providers.cache.base import CacheProvider
from shared.caches.redis import RedisCaches


def provider(context: Context) -> CacheProvider:
    settings = context.settings
    url = settings.redis_url
    caches = RedisCaches(url.get_secret_value(), settings.cache_max_bytes) if url else None
    return CacheProvider("redis", caches, "REDIS_URL")
