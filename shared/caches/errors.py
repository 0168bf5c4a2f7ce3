"""What can go wrong with a cache.

GalaksioError
├── NoSuchCache        404    unknown, deleted, or its time is over
├── NoSuchKey          404    the cache has no such key
├── OperationsUsedUp   402    all operations that were bought are used
├── OperationsGone     410    they are, and no more are sold for this cache
├── CacheFull          507    the cache holds as much as it may
├── BadRequest         400    a key, value, ttl or cursor that cannot be
│   └── WrongType      400    the key holds a hash, a list …, not a value
└── CacheUnavailable   503    Redis or Memcached does not answer
"""

from typing import Any

from shared.errors import BadRequest, Conflict, GalaksioError, Unavailable


class NoSuchCache(GalaksioError):
    status = 404
    code = "cache_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such cache: it was never made, was deleted, or its time is over.")


class NoSuchKey(GalaksioError):
    status = 404
    code = "key_not_found"

    def __init__(self) -> None:
        super().__init__("The cache has no such key.")


class OperationsUsedUp(GalaksioError):
    """The broker answers it with the price of more."""

    status = 402
    code = "operations_used_up"

    def __init__(self) -> None:
        super().__init__(
            "The operations of this cache are used up: buy more with POST /cache/{cacheId}/topup."
        )


class OperationsGone(GalaksioError):
    """Not a 402: there is nothing here that a payment would buy."""

    status = 410
    code = "operations_used_up"

    def __init__(self) -> None:
        super().__init__(
            "The operations of this cache are used up, and no more are sold for it: make a new cache."
        )


class CacheFull(GalaksioError):
    status = 507
    code = "cache_full"

    def __init__(self) -> None:
        super().__init__("The cache is full: delete keys, or let some expire.")


class WrongType(BadRequest):
    code = "wrong_type"

    def __init__(self) -> None:
        super().__init__("The key holds another type (a hash, a list …): use the Redis commands for it.")


class CacheIdTaken(Conflict):
    code = "cache_id_taken"

    def __init__(self) -> None:
        super().__init__("There is a cache of this id already, made by another job: choose another cacheId.")


class CacheUnavailable(Unavailable):
    code = "cache_unavailable"

    def __init__(self, message: str = "The cache does not answer at the moment.", **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
