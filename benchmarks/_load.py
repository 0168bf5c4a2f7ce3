"""A load client that costs little: raw keep-alive connections, one request in flight on each.

Reads `{host, port, connections, status, requests}` (requests in base64) from standard input, sends every
request once, prints `{seconds}`. An answer with another status ends it with an error.
"""

import asyncio
import base64
import json
import sys
import time
from collections import deque
from typing import Any

import uvloop

TIMEOUT_S = 300


class Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last one is complete."""

    def __init__(self, waiting: deque[bytes], status: bytes, done: "asyncio.Future[None]") -> None:
        self._waiting = waiting
        self._status = status
        self._done = done
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def send_next(self) -> None:
        if self._waiting:
            self._transport.write(self._waiting.popleft())
        elif not self._done.done():
            self._done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        start = head.index(b"content-length:") + 15
        end = head.find(b"\r\n", start)
        size = int(head[start : end if end > 0 else head_end])
        if len(self._buffer) < head_end + 4 + size:
            return
        answer, self._buffer = self._buffer, b""
        if answer[9:12] != self._status:
            self._fail(RuntimeError(answer[:2000].decode(errors="replace")))
        else:
            self.send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionError("the server closed the connection"))

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)


async def main() -> None:
    job = json.load(sys.stdin)
    waiting = deque(base64.b64decode(item) for item in job["requests"])
    loop = asyncio.get_running_loop()
    made = []
    for _ in range(job["connections"]):
        done: asyncio.Future[None] = loop.create_future()
        status = str(job["status"]).encode()
        _, connection = await loop.create_connection(
            lambda d=done, s=status: Connection(waiting, s, d), job["host"], job["port"]
        )
        made.append((connection, done))
    began = time.perf_counter()
    for connection, _ in made:
        connection.send_next()
    await asyncio.wait_for(asyncio.gather(*(done for _, done in made)), TIMEOUT_S)
    print(json.dumps({"seconds": time.perf_counter() - began}))


uvloop.run(main())
