"""A run as a stream: its output while it is produced, then its result."""

import asyncio
import base64
import codecs
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from executor.sandbox.capture import OnOutput, Stream
from executor.sandbox.outputs import Encoding

T = TypeVar("T")


@dataclass
class Chunk:
    """Output as it came: the start of a stream is not repeated, what is beyond the kept part never comes."""

    stream: Stream
    data: bytearray


class Outbox:
    """Between a run and its reader. A slow reader stalls nobody: chunks that wait are merged.

    It never holds more than the kept output of one run.
    """

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque()
        self._news = asyncio.Event()
        self._ended = False

    def put(self, stream: Stream, data: bytes) -> None:
        if self._chunks and self._chunks[-1].stream == stream:
            self._chunks[-1].data += data
        else:
            self._chunks.append(Chunk(stream, bytearray(data)))
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._news.set()

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        while True:
            while self._chunks:
                yield self._chunks.popleft()
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()


async def stream_of(work: Callable[[OnOutput], Awaitable[T]]) -> AsyncGenerator[Chunk | T, None]:
    """What `work` tells of its output, then what it returns, or raises.

    A reader that leaves cancels the work.
    """
    outbox = Outbox()
    task = asyncio.ensure_future(work(outbox.put))
    task.add_done_callback(lambda _: outbox.end())
    try:
        async with aclosing(outbox.chunks()) as chunks:
            async for chunk in chunks:
                yield chunk
        yield await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


class Texts:
    """Chunks as text for JSON: UTF-8 that is not cut within a character, or base64."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {"stdout": decoder("replace"), "stderr": decoder("replace")}

    def of(self, chunk: Chunk) -> str:
        if self._encoding == "base64":
            return base64.b64encode(chunk.data).decode()
        return self._decoders[chunk.stream].decode(bytes(chunk.data))
