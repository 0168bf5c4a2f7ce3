"""What goes to Redis for a cache and comes back: names of keys, packed commands, errors.

What a cache is made of is written in `lua/prelude.lua`.
"""

from collections.abc import Callable, Sequence

from redis.exceptions import RedisError, ResponseError

from shared.caches.base import CacheInfo
from shared.caches.command import Command, CommandFailed
from shared.caches.effects import effect_of
from shared.caches.errors import CacheFull, CacheUnavailable, NoSuchCache, OperationsUsedUp, WrongType
from shared.caches.limits import is_cache_id, ttl_s_of
from shared.errors import GalaksioError
from shared.logs import get_logger

log = get_logger(__name__)

ENDS = b"galaksio:caches:ends"
"""Sorted set: cache id -> when it ends (ms), for the sweeper."""
_REFUSED: dict[str, Callable[[], GalaksioError]] = {
    "NOCACHE": NoSuchCache,
    "USEDUP": OperationsUsedUp,
    "FULL": CacheFull,
    "WRONGTYPE": WrongType,
}


def key_of(cache_id: str, part: str) -> bytes:
    return f"{{{cache_id}}}:{part}".encode()


def meta_key(cache_id: str) -> bytes:
    """Raises `NoSuchCache` for what can be no id, and so no part of a key."""
    if not is_cache_id(cache_id):
        raise NoSuchCache
    return key_of(cache_id, "m")


def prefix_of(cache_id: str) -> bytes:
    return key_of(cache_id, "k:")


def keys_of(cache_id: str, *names: bytes) -> tuple[bytes, ...]:
    """The four that the scripts begin with, then these of the tenant."""
    prefix = prefix_of(cache_id)
    parts = (key_of(cache_id, part) for part in ("i", "s", "e"))
    return (meta_key(cache_id), *parts, *(prefix + name for name in names))


def job_key(job_id: str) -> str:
    return f"galaksio:caches:job:{job_id}"


def packed(cache_id: str, commands: Sequence[Command]) -> tuple[tuple[bytes, ...], list[bytes | str | int]]:
    """All keys, and the commands as `lua/run.lua` reads them, with numbers in the places of keys."""
    numbers: dict[bytes, int] = {}
    words: list[bytes | str | int] = []
    for one in commands:
        args: list[bytes | int] = list(one.args)
        for position in one.key_positions:
            args[position] = numbers.setdefault(one.args[position], len(numbers) + 5)
        positions = [position + 2 for position in one.key_positions]
        words += [effect_of(one.name), len(args) + 1, len(positions), *positions, one.name, *args]
    return keys_of(cache_id, *numbers), words


def failed_with(text: bytes, prefix: bytes) -> CommandFailed:
    return CommandFailed(text.replace(prefix, b"").decode("utf-8", "replace"))


def seconds_of(ttl_ms: int) -> int | None:
    return None if ttl_ms < 0 else ttl_s_of(ttl_ms)


def info_of(cache_id: str, fields: Sequence[bytes]) -> CacheInfo:
    region, left, used, created_ms, ends_ms = fields
    return CacheInfo(
        cache_id=cache_id,
        region=region.decode(),
        operations_left=int(left),
        used_bytes=int(used),
        created_at=int(created_ms) / 1000,
        expires_at=int(ends_ms) / 1000 if int(ends_ms) else None,
    )


class _Errors:
    """What a script refuses, and what Redis itself could not do, in our words. A class: it is cheaper."""

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> None:
        if isinstance(exc, ResponseError):
            refused = _REFUSED.get(str(exc).partition(" ")[0])
            if refused is not None:
                raise refused() from None
            log.error("cache_failed", reason=str(exc))
            raise CacheUnavailable from None
        if isinstance(exc, RedisError | OSError):
            raise CacheUnavailable(f"Redis does not answer ({type(exc).__name__}).") from None


redis_errors = _Errors()
