"""Databases of one Postgres server, made and dropped over one connection: starting psql takes longer."""

import asyncio
import threading
import uuid
from concurrent.futures import Future
from typing import Any

import asyncpg

PATIENCE_S = 90


class Databases:
    """Of the server at `url`, whose database `postgres` is there. Safe to be called by any thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._connection: asyncpg.Connection = self._soon(asyncpg.connect(url)).result(PATIENCE_S)
        self._turn = asyncio.Lock()
        self._dropping: list[Future[Any]] = []

    def new(self, like: str | None = None) -> str:
        """The address of a new one: empty, or a copy of the one at `like`, where nobody is connected."""
        name, template = f"t{uuid.uuid4().hex}", _name_of(like) if like else "template1"
        self._soon(self._do(f"CREATE DATABASE {name} TEMPLATE {template}")).result(PATIENCE_S)
        return self._url.replace("/postgres?", f"/{name}?")

    def drop(self, url: str) -> None:
        """Without waiting for it; `close` tells of what went wrong. An empty one takes 9 MB of disk."""
        self._dropping.append(self._soon(self._do(f"DROP DATABASE {_name_of(url)} WITH (FORCE)")))

    def close(self) -> None:
        try:
            for dropped in self._dropping:
                dropped.result(PATIENCE_S)
        finally:
            self._soon(self._connection.close()).result(PATIENCE_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE_S)
            self._loop.close()

    async def _do(self, statement: str) -> None:
        async with self._turn:
            await self._connection.execute(statement)

    def _soon(self, work: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)


def _name_of(url: str) -> str:
    return url.rpartition("?")[0].rpartition("/")[2]
