"""An app on a port of this machine, served by uvicorn in a thread, that can be cut off in the middle."""

import asyncio
import threading
import time

import uvicorn
from fastapi import FastAPI

from tests.support.ports import free_port

PATIENCE_S = 40


class Served:
    """`start` and `stop` may alternate; the port stays the same."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        config = uvicorn.Config(
            self._app, host="127.0.0.1", port=self.port, log_config=None, access_log=False, lifespan="off"
        )
        self._server = server = uvicorn.Server(config)
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(server),), daemon=True)
        self._thread.start()
        deadline = time.monotonic() + PATIENCE_S
        while not server.started:
            assert time.monotonic() < deadline and self._thread.is_alive(), "the stand-in did not start"
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop listening and cut every connection, whatever is going on. Idempotent."""
        if self._thread is None or self._loop is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self.end)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the stand-in did not end"
        self._thread = None

    def end(self) -> None:
        """As `stop`, from one of the app's own routes, which does not wait for it."""
        assert self._server is not None
        self._server.should_exit = self._server.force_exit = True
        for listening in self._server.servers:
            listening.close()
        self.cut()

    def cut(self) -> None:
        """Cut every open connection, from one of the app's own routes; new ones are welcome."""
        assert self._server is not None
        for connection in list(self._server.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()

    async def _serve(self, server: uvicorn.Server) -> None:
        self._loop = asyncio.get_running_loop()
        await server.serve()
