"""Calls to another server where every microsecond of ours counts: the facilitator and the executor.

aiohttp spends a fifth of what httpx does on a call (docs/decisions/0007); elsewhere httpx is used. No
redirects, no cookies, no proxy from the environment, and no answer is read beyond its limit.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from shared.trust import trusted

CONNECT_TIMEOUT_S = 3.0
KEEP_ALIVE_S = 4.0
"""Less than the 5 s after which uvicorn closes an idle connection: a call must not meet that moment."""
MAX_CONNECTIONS = 200


class NoAnswer(Exception):
    """No whole answer came. `sent` is False when the request has certainly not left this machine."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


@dataclass(frozen=True)
class Answer:
    """Whatever came back, with any status."""

    status: int
    body: bytes


class Caller:
    """Calls `base_url`; made inside the running loop, closed at the end. Times in seconds."""

    def __init__(
        self, base_url: str, *, timeout_s: float, max_bytes: int, headers: Mapping[str, str] | None = None
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._urls: dict[str, URL] = {}
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        trust = trusted() if base_url.startswith("https:") else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_ALIVE_S, ssl=trust),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
        )

    async def close(self) -> None:
        await self._session.close()

    async def get(self, path: str) -> Answer:
        """Raises `NoAnswer`."""
        return await self._call("GET", path, None, {}, None)

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Post JSON. Raises `NoAnswer`, also for an answer over the limit."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        return await self._call("POST", path, body, sent, timeout_s)

    async def put_stream(
        self, path: str, content: AsyncIterator[bytes], *, headers: Mapping[str, str], timeout_s: float
    ) -> Answer:
        """Put a body as it comes. Raises `NoAnswer`, and whatever `content` raises: then it was cut off."""
        sent = {"Content-Type": "application/octet-stream", **headers}
        failed: list[Exception] = []

        async def watched() -> AsyncIterator[bytes]:
            try:
                async for part in content:
                    yield part
            except Exception as exc:  # being cancelled, as when the other side dies, is no failure of its own
                failed.append(exc)
                raise

        try:
            return await self._call("PUT", path, watched(), sent, timeout_s)
        except NoAnswer:
            if failed:
                raise failed[0] from None
            raise

    async def delete(self, path: str, headers: Mapping[str, str]) -> Answer:
        """Raises `NoAnswer`."""
        return await self._call("DELETE", path, None, headers, None)

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes | AsyncIterator[bytes] | None,
        headers: Mapping[str, str],
        timeout_s: float | None,
    ) -> Answer:
        timeout = aiohttp.ClientTimeout(
            total=self._timeout_s if timeout_s is None else timeout_s, sock_connect=CONNECT_TIMEOUT_S
        )
        if path not in self._urls:  # the same few again and again, and reading one takes its time
            self._urls[path] = URL(f"{self._base_url}{path}")
        try:
            async with self._session.request(
                method,
                self._urls[path],
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                return Answer(response.status, await self._read(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            raise NoAnswer(type(exc).__name__, sent=False) from None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            raise NoAnswer(type(exc).__name__, sent=True) from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        if (response.content_length or 0) > self._max_bytes:
            raise NoAnswer("the answer is too large", sent=True)
        parts, size = [], 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > self._max_bytes:
                raise NoAnswer("the answer is too large", sent=True)
            parts.append(part)
        return b"".join(parts)
