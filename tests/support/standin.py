"""A tiny HTTP/1.1 server in a thread of the test process, whose answers can be wrong in every way."""

import asyncio
import gc
import json
import threading
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.support.ports import free_port

PATIENCE_S = 30


@dataclass(frozen=True)
class Answer:
    """What a stand-in says. `dropped` closes the connection without a word; `drip_s` is the pause after
    every byte of the body, `delay_s` the pause before the first."""

    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    delay_s: float = 0.0
    drip_s: float = 0.0
    dropped: bool = False

    @classmethod
    def of(cls, value: Any, status: int = 200, **more: Any) -> "Answer":
        return cls(status, json.dumps(value).encode(), **more)


DROPPED = Answer(dropped=True)


class StandIn(ABC):
    """Serves `answer(method, path, body)` on a port of its own until it is stopped."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.heads: deque[str] = deque(maxlen=1000)
        """First lines and headers of the latest requests."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        """What to say to one request."""

    def start(self) -> None:
        self._thread.start()
        self._do(self._listen())

    def stop(self) -> None:
        self._do(self._close())
        _forget_half_accepted()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Connections are refused in this block, and the open ones are cut."""
        self._do(self._close())
        _forget_half_accepted()
        try:
            yield
        finally:
            self._do(self._listen())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=512)

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._serve_one(reader, writer):
                    pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, path, _ = head.split("\r\n", 1)[0].split(" ")
        length = next(
            (int(row[15:]) for row in head.split("\r\n") if row.lower().startswith("content-length:")), 0
        )
        body = await reader.readexactly(length)
        self.heads.append(head)  # here, so that it is the last one when `answer` begins
        answer = await self.answer(method, path, body)
        await asyncio.sleep(answer.delay_s)
        if answer.dropped:
            return False
        rows = [f"HTTP/1.1 {answer.status} Whatever", f"Content-Length: {len(answer.body)}"]
        if not any(name.lower() == "content-type" for name, _ in answer.headers):
            rows.append("Content-Type: application/json")
        rows += [f"{name}: {value}" for name, value in answer.headers]
        writer.write("\r\n".join([*rows, "", ""]).encode("latin-1"))
        if not answer.drip_s:
            writer.write(answer.body)
            await writer.drain()
            return True
        for byte in answer.body:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(answer.drip_s)
        return True


def _forget_half_accepted() -> None:
    """asyncio loses a connection that it accepts in the moment its server is closed: it is attached too late.

    The socket is collected here, where nobody takes the warning for a leak of the code under test.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


Script = Callable[[Any], Answer | None]


def always(answer: Answer) -> Script:
    """A script that gives the same answer to everybody."""
    return lambda _: answer
