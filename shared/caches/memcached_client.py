"""The few things that caches need of Memcached, each of them atomic, with errors in our words."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import emcache
from emcache.client_errors import NotFoundCommandError, NotStoredStorageCommandError

from shared.caches.errors import CacheUnavailable
from shared.errors import StartupError

DEFAULT_PORT = 11211
TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.0
CONNECTIONS = 16
SWAPS = 200
"""How often a change is tried again when somebody else was faster."""
SWAP_PAUSE_S = 0.005

Change = Callable[[bytes | None], bytes | None]
"""What an item shall be, of what it is; None to leave it as it is. May raise."""


class MemcachedItems:
    """Items by key, on one server. Times to expire as Memcached has them: Unix seconds, 0 for never.

    Connects when it is used. Everything raises `CacheUnavailable`.
    """

    def __init__(self, url: str) -> None:
        self._address = _address(url)
        self._made: emcache.Client | None = None

    async def get(self, key: bytes) -> bytes | None:
        with _errors:
            item = await (await self._client()).get(key)
        return None if item is None else bytes(item.value)

    async def get_many(self, *keys: bytes) -> dict[bytes, bytes]:
        with _errors:
            found = await (await self._client()).get_many(keys)
        return {key: bytes(item.value) for key, item in found.items()}

    async def set(self, key: bytes, data: bytes, until: int) -> None:
        with _errors:
            await (await self._client()).set(key, data, exptime=until)

    async def add(self, key: bytes, data: bytes, until: int) -> bool:
        """Whether there was none."""
        with _errors:
            try:
                await (await self._client()).add(key, data, exptime=until)
            except NotStoredStorageCommandError:
                return False
        return True

    async def delete(self, key: bytes) -> None:
        with _errors, suppress(NotFoundCommandError):
            await (await self._client()).delete(key)

    async def change(self, key: bytes, until: int, change: Change) -> bytes | None:
        """Compare-and-swap until nobody was faster; returns what `change` made in the end."""
        with _errors:
            client = await self._client()
            for _ in range(SWAPS):
                item = await client.gets(key)
                wanted = change(None if item is None else bytes(item.value))
                if wanted is None:
                    return None
                with suppress(NotStoredStorageCommandError, NotFoundCommandError):
                    if item is None:
                        await client.add(key, wanted, exptime=until)
                    else:
                        await client.cas(key, wanted, item.cas or 0, exptime=until)
                    return wanted
                await asyncio.sleep(random.uniform(0, SWAP_PAUSE_S))  # noqa: S311
        raise CacheUnavailable("Too many change the same part of this cache at the same time.")

    async def count(self, key: bytes, by: int, until: int) -> int:
        """The counter's new value. One that was forgotten starts at 0; below 0 none goes."""
        with _errors:
            client = await self._client()
            step = client.increment if by >= 0 else client.decrement
            try:
                found = await step(key, abs(by))
            except NotFoundCommandError:
                with suppress(NotStoredStorageCommandError):
                    await client.add(key, b"0", exptime=until)
                found = await step(key, abs(by))
        return int(found or 0)

    async def ping(self) -> None:
        with _errors:
            await (await self._client()).version(self._address)

    async def close(self) -> None:
        if self._made is not None:
            # A client that is just connecting can miss that it is to end; the timeout tells it once more.
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._made.close()

    async def _client(self) -> emcache.Client:
        """Made here, because it belongs to the running loop."""
        if self._made is None:
            self._made = await emcache.create_client(
                [self._address], timeout=TIMEOUT_S, connection_timeout=TIMEOUT_S, max_connections=CONNECTIONS
            )
        return self._made


def _address(url: str) -> emcache.MemcachedHostAddress:
    parts = urlsplit(url if "//" in url else f"//{url}")
    with suppress(ValueError):  # a port that is none
        if parts.scheme in ("", "memcached") and parts.hostname:
            return emcache.MemcachedHostAddress(parts.hostname, parts.port or DEFAULT_PORT)
    raise StartupError("MEMCACHED_URL must be HOST:PORT or memcached://HOST:PORT.")


class _Errors:
    def __enter__(self) -> None: ...

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> None:
        known = (emcache.CommandError, emcache.ClusterNoAvailableNodes, OSError, TimeoutError)
        if isinstance(exc, known):
            raise CacheUnavailable(f"Memcached does not answer ({type(exc).__name__}).") from None


_errors = _Errors()
