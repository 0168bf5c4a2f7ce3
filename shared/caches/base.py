"""What every backend offers. Each call on keys checks that the cache lives, counts, and does the work."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from shared.caches.command import Command, Reply

Backend = Literal["redis", "memcached", "xcache"]


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """Times are Unix seconds. `used_bytes` is what counts against the limit of a cache."""

    cache_id: str
    region: str
    operations_left: int
    used_bytes: int
    created_at: float
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value, any JSON. `ttl_s` is rounded up; None means that it stays."""

    key: str
    value: Any
    ttl_s: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some keys. `cursor` asks for the next page; None means that this was the last."""

    keys: list[str]
    cursor: str | None
    operations_left: int


class Caches(Protocol):
    """Caches by id.

    Every call on keys counts one operation, whether it finds something or not and also when it fails on what
    the cache holds (`WrongType`, `CacheFull`). What is refused as malformed (`BadRequest`) is not counted.
    All raise `NoSuchCache`, `OperationsUsedUp` and `CacheUnavailable`.
    """

    value_max_bytes: int
    """The longest value, as JSON text."""

    async def create(
        self, cache_id: str, region: str, operations: int, ttl_s: int | None, job_id: str | None = None
    ) -> CacheInfo:
        """Make a cache; the same id again, by the same job, changes nothing and returns what there is.

        Raises `CacheIdTaken` for the id of another job's cache, `JobUndone` for a job that was undone.
        """

    async def undo(self, job_id: str) -> None:
        """Remove the cache that this job made, or take back the operations that it added.

        It does neither later (for seven days).
        """

    async def delete(self, cache_id: str) -> None:
        """Remove a cache and all its keys. One that is not there is no error."""

    async def info(self, cache_id: str) -> CacheInfo:
        """Not counted as an operation."""

    async def add_operations(self, cache_id: str, count: int, payment_id: str) -> CacheInfo:
        """Add what was bought; the same `payment_id`, a job's id, again adds nothing. Raises `JobUndone`."""

    async def get(self, cache_id: str, key: str) -> Entry | None: ...

    async def set(self, cache_id: str, key: str, value: Any, ttl_s: int | None = None) -> None:
        """Keep any JSON. Without `ttl_s` it stays as long as the cache. Raises `CacheFull`."""

    async def delete_key(self, cache_id: str, key: str) -> bool:
        """Whether there was such a key."""

    async def ttl(self, cache_id: str, key: str) -> int | None:
        """Seconds, rounded up; None for a key that stays. Raises `NoSuchKey`."""

    async def update_ttl(self, cache_id: str, key: str, ttl_s: int | None) -> None:
        """None takes the ttl away. Raises `NoSuchKey`."""

    async def list_keys(
        self, cache_id: str, cursor: str | None = None, limit: int = 100, prefix: str = ""
    ) -> Page:
        """The next keys: at most `limit`, maybe fewer, before the last page.

        Keys that are there from the first page to the last are named exactly once.
        """

    async def ping(self) -> None:
        """Raises `CacheUnavailable` with the reason."""

    async def sweep(self) -> int:
        """Remove what expired caches left behind; returns how many caches that were."""

    async def close(self) -> None: ...


class RunsCommands(Protocol):
    """Redis only."""

    async def run(self, cache_id: str, commands: Sequence[Command]) -> list[Reply]:
        """Run checked commands in their order, in one step: nobody else's come in between.

        Counts one operation for each, and runs none when there are not enough left.
        """
