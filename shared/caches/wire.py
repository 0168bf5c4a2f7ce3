"""What a cache says, as JSON in camelCase: xcache's shapes (providers.md), the same at the broker."""

from typing import Any, Literal

from pydantic import Field

from shared.caches.base import CacheInfo, Entry, Page
from shared.clock import iso
from shared.jobs import Upstream, Wire


class CacheCreated(Wire):
    """`operations` are those that are left, `expires_at` is ISO 8601 or null."""

    cache_id: str
    region: str
    operations: int
    expires_at: str | None
    upstream: Upstream = None

    @staticmethod
    def of(info: CacheInfo) -> "CacheCreated":
        return CacheCreated(
            cache_id=info.cache_id,
            region=info.region,
            operations=info.operations_left,
            expires_at=None if info.expires_at is None else iso(info.expires_at),
        )


class CreatedAtXcache(CacheCreated):
    """As the executor tells it: `cache_id` is xcache's own id."""

    provider: Literal["xcache"] = "xcache"


class CacheToppedUp(Wire):
    """`operations` are those that are left now, with the `added` ones."""

    cache_id: str
    operations: int
    added: int


class CacheEntry(Wire):
    """`ttl` in seconds, null for a key that stays. `cache_id` only where it was made for this entry."""

    key: str
    value: Any
    ttl: int | None
    cache_id: str | None = Field(None, exclude_if=lambda value: value is None)

    @staticmethod
    def of(entry: Entry) -> "CacheEntry":
        return CacheEntry(key=entry.key, value=entry.value, ttl=entry.ttl_s)


class CacheKeys(Wire):
    """A page of keys. `count` is how many it has, `operations` how many are left to the cache."""

    keys: list[str]
    count: int
    operations: int
    cursor: str | None

    @staticmethod
    def of(page: Page) -> "CacheKeys":
        return CacheKeys(
            keys=page.keys, count=len(page.keys), operations=page.operations_left, cursor=page.cursor
        )


class CacheMessage(Wire):
    message: str


class CacheTtl(Wire):
    key: str
    ttl: int | None
    unit: Literal["seconds"] = "seconds"


class CacheTtlSet(Wire):
    key: str
    ttl: int | None
