"""Caches in the host's Memcached: they may forget (shared/caches/memcached.py says what)."""

from executor.providers.base import Context
from executor.providers.cache.base import CacheProvider
from shared.caches.memcached import MemcachedCaches


def provider(context: Context) -> CacheProvider:
    settings = context.settings
    url = settings.memcached_url
    caches = MemcachedCaches(url.get_secret_value(), settings.cache_max_bytes) if url else None
    return CacheProvider("memcached", caches, "MEMCACHED_URL")
