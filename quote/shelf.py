"""What all quote processes of a host know together: a few short values in Redis.

Quoting never depends on it: without Redis, and while it is down, everybody knows nothing.
"""

import asyncio
import hashlib
import time
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.errors import StartupError
from shared.logs import get_logger

log = get_logger(__name__)

VERSION = 1
"""Of what is written there. Another one never meets this one's."""
TIMEOUT_S = 0.25
CONNECTIONS = 16
DOWN_S = 5.0
"""How long nobody waits for a Redis that did not answer."""
MAX_BYTES = 256 * 1024

# Taken away only by the one who has it: it may be another one's by now.
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class Shelf:
    """Values by name, for as long as told. `scope` keeps hosts apart that share one Redis.

    `url` as redis-py reads it: raises `StartupError` for one that it cannot read.
    """

    def __init__(self, url: str | None = None, scope: str = "") -> None:
        self._prefix = f"galaksio:quote:{VERSION}:{hashlib.sha256(scope.encode()).hexdigest()[:12]}:"
        self._redis = _open(url) if url else None
        self._down_until = 0.0

    @property
    def shared(self) -> bool:
        """Whether what is put here is for anybody else."""
        return self._redis is not None

    async def answers(self) -> bool:
        """Whether Redis answers; after it did not, nobody asks it for `DOWN_S`."""
        return bool(await self._ask(False, "PING"))

    async def get(self, name: str) -> bytes | None:
        found: bytes | None = await self._ask(None, "GET", self._key(name))
        return found

    async def put(self, name: str, value: bytes, ttl_s: float) -> None:
        if len(value) <= MAX_BYTES:
            await self._ask(None, "SET", self._key(name), value, "PX", _ms(ttl_s))

    async def claim(self, name: str, owner: str, ttl_s: float) -> bool:
        """Whether `owner` is the one to do it now: nobody else is, or nobody can know."""
        key = self._key(f"claim:{name}")
        return bool(await self._ask(True, "SET", key, owner, "NX", "PX", _ms(ttl_s)))

    async def release(self, name: str, owner: str) -> None:
        await self._ask(None, "EVAL", _RELEASE, 1, self._key(f"claim:{name}"), owner)

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()

    def _key(self, name: str) -> str:
        return self._prefix + name

    async def _ask(self, otherwise: Any, *command: str | bytes | int) -> Any:
        if self._redis is None or time.monotonic() < self._down_until:
            return otherwise
        try:
            async with asyncio.timeout(2 * TIMEOUT_S):
                return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as exc:
            self._down_until = time.monotonic() + DOWN_S
            log.warning("quotes_not_shared", error=type(exc).__name__)
            return otherwise


def name_of(provider: str, key: str) -> str:
    """What an answer is called on a shelf."""
    return f"{provider}:{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _open(url: str) -> Redis:
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        raise StartupError("REDIS_URL must begin with redis://, rediss:// or unix://.") from None
    return Redis.from_pool(pool)
