"""A real broker of its own process with a cache on a real Valkey, for clients that know nothing of us."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.caches.tokens import Tokens
from shared.caches.router import new_cache_id, open_caches
from tests.support.services import Stack, clean_environment


@dataclass(frozen=True)
class Bought:
    """What a buyer of a cache is told."""

    endpoint: str
    token: str


@contextmanager
def bought_cache(home: Path, redis_url: str, operations: int = 50_000) -> Iterator[Bought]:
    key, cache_id = secrets.token_hex(16), new_cache_id("redis")
    asyncio.run(_create(redis_url, cache_id, operations))
    environment = clean_environment(
        GALAKSIO_HOME=str(home), REDIS_URL=redis_url, CACHE_TOKEN_KEY=key, X402_ENABLED="false"
    )
    stack = Stack(home, environment)
    try:
        broker = stack.launch("broker").wait_ready()
        yield Bought(f"{broker.url}/cache/{cache_id}", Tokens(key.encode()).of(cache_id))
    finally:
        stack.stop()


async def _create(redis_url: str, cache_id: str, operations: int) -> None:
    caches = open_caches(redis_url, None, max_bytes=64 * 1024 * 1024)
    await caches.create(cache_id, "us-east-1", operations, None)
    await caches.close()
