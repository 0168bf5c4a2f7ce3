"""Files as multipart bodies, read off the disk as they are sent, and priced before they are sent."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping

import aiohttp
import httpx

from galaksio.connection import Lost, Reply, asks_environment, read_limited
from galaksio.content import Content
from galaksio.errors import Unreadable

PIECE_BYTES = 256 * 1024
SMALL_BYTES = 256 * 1024
"""A file of no more is sent along with the question for its price."""
PRICE_WAIT_S = 5.0
"""How long the price is waited for ahead of the file; a proxy may want the whole request first."""
TIMEOUTS = aiohttp.ClientTimeout(total=1200, sock_connect=10, sock_read=180)

Progress = Callable[[int, int], None]
"""Told how many bytes of the file have been sent, and how many it has."""


class Upload:
    """One body that can be sent again: the same to the byte, and so under the same price.

    The price is asked for with everything but the file: it depends on the fields (one at least) and the
    length. aiohttp, because httpx does not look at an answer before it has sent all of its request.
    """

    def __init__(self, url: str, fields: Mapping[str, str], content: Content, progress: Progress) -> None:
        self._url = url
        self._content = content
        self._progress = progress
        self._fault: Unreadable | None = None
        file = (content.name, b"", content.type)
        empty = httpx.Request("POST", url, data=dict(fields), files={"file": file})
        self._type = empty.headers["Content-Type"]
        self._head, dashes, rest = empty.read().rpartition(b"\r\n--")
        self._tail = dashes + rest

    async def send(self, headers: dict[str, str]) -> Reply:
        """Send it with `headers`. Without any the price is waited for ahead of a large file.

        Raises `Unreadable` when the file cannot be read as it was measured, else `Lost`.
        """
        length = len(self._head) + self._content.size_bytes + len(self._tail)
        told = {
            "Content-Type": self._type,
            "Content-Length": str(length),
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **headers,
        }
        wait_s = 0 if headers or self._content.size_bytes <= SMALL_BYTES else PRICE_WAIT_S
        try:
            async with self._session() as session:
                return await self._exchange(session, told, wait_s)
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise self._fault or Lost(type(exc).__name__) from None

    async def _exchange(
        self, session: aiohttp.ClientSession, headers: dict[str, str], wait_s: float
    ) -> Reply:
        answered = asyncio.Event()
        body = self._body(answered, wait_s)
        async with session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
            answered.set()
            data = await read_limited(answer.content.iter_any())
            answer.close()  # part of the body may be missing: the connection is of no more use
        return Reply(answer.status, httpx.Headers([*answer.headers.items()]), data)

    def _session(self) -> aiohttp.ClientSession:
        trust: ssl.SSLContext | bool = httpx.create_ssl_context() if self._url.startswith("https:") else True
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust),
            timeout=TIMEOUTS,
            trust_env=asks_environment(self._url),
            auto_decompress=False,
        )

    async def _body(self, answered: asyncio.Event, wait_s: float) -> AsyncIterator[bytes]:
        """All of it; no more than its head when it is `answered` within `wait_s`."""
        yield self._head
        if wait_s and await _set_within(answered, wait_s):
            return
        async for piece in self._pieces():
            yield piece
        yield self._tail

    async def _pieces(self) -> AsyncIterator[bytes]:
        """The file, exactly as long as it was when it was measured."""
        sent_bytes, size_bytes = 0, self._content.size_bytes
        while sent_bytes < size_bytes:
            piece = await asyncio.to_thread(self._read, sent_bytes, min(PIECE_BYTES, size_bytes - sent_bytes))
            yield piece
            sent_bytes += len(piece)
            self._progress(sent_bytes, size_bytes)

    def _read(self, at: int, most_bytes: int) -> bytes:
        try:
            self._content.source.seek(at)
            if piece := self._content.source.read(most_bytes):
                return piece
            why = "it became shorter while it was sent"
        except OSError as exc:
            why = str(exc.strerror)
        # Kept as well: aiohttp reports whatever ends a body as a broken connection.
        self._fault = Unreadable(f"{self._content.name or 'The content'} cannot be read: {why}.")
        raise self._fault


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
