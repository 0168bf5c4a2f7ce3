"""Fetching a customer's URL (providers.md), without becoming the customer's way into our network.

Only http and https on ports 80 and 443; only public addresses, judged when the connection is made to them; no
cookies, credentials or proxies; each redirect is judged like the URL itself; sizes and times have limits.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

import aiohttp

from executor.storage.fetching.errors import FetchFailed, TooLarge, Unreachable
from executor.storage.fetching.labels import name_of, safe_content_type
from executor.storage.fetching.names import (
    Lookup,
    OpenSocket,
    PublicResolver,
    plain_socket,
    public_sockets,
    system_lookup,
)
from executor.storage.fetching.urls import read_url, redirected
from shared.trust import trusted

_REDIRECTS = (301, 302, 303, 307, 308)
_SENT = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "Galaksio"}
Method = Literal["GET", "HEAD"]


@dataclass(frozen=True)
class FetchOptions:
    """Limits of each fetch. `timeout_s` is for all of it, `read_timeout_s` for each wait for more bytes,
    `measure_timeout_s` for asking how large a file is. The last three are what a test replaces.
    """

    max_bytes: int
    timeout_s: float = 60.0
    measure_timeout_s: float = 10.0
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 10.0
    max_redirects: int = 5
    max_connections: int = 20
    ports: frozenset[int] = frozenset({80, 443})
    lookup: Lookup = system_lookup
    open_socket: OpenSocket = plain_socket
    trust: ssl.SSLContext | None = None


@dataclass(frozen=True)
class Measured:
    """What a server says of a file. None where it says nothing: the file may be of any size."""

    size_bytes: int | None
    content_type: str
    file_name: str | None


class Fetched:
    """A file that is on its way. `size_bytes` is what the server declared, or None."""

    def __init__(self, response: aiohttp.ClientResponse, deadline: float, max_bytes: int) -> None:
        said = _measured(response)
        self.content_type = said.content_type
        self.file_name = said.file_name
        self.size_bytes = said.size_bytes
        self._response = response
        self._deadline = deadline
        self._max_bytes = max_bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file, once, in portions as they come. Raises `TooLarge` and `Unreachable`."""
        taken_bytes = 0
        while portion := await self._read():
            taken_bytes += len(portion)
            if taken_bytes > self._max_bytes:
                raise _too_large(self._max_bytes)
            yield portion

    async def _read(self) -> bytes:
        with _failures():
            async with asyncio.timeout_at(self._deadline):
                return await self._response.content.readany()


class Fetcher:
    """Fetches files; any number at once. To be entered in the running loop and left at the end."""

    def __init__(self, options: FetchOptions) -> None:
        self._options = options

    async def __aenter__(self) -> Self:
        self._session = public_session(self._options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    @asynccontextmanager
    async def open(self, url: str, *, max_bytes: int | None = None) -> AsyncIterator[Fetched]:
        """The file at `url`, of at most `max_bytes` or what the options allow, if that is less.

        Raises `FetchRefused`, `FetchFailed` and `TooLarge`.
        """
        most_bytes = self._options.max_bytes
        limit = most_bytes if max_bytes is None else min(max_bytes, most_bytes)
        deadline = _in(self._options.timeout_s)
        response = await self._follow("GET", url, deadline)
        try:
            fetched = Fetched(response, deadline, limit)
            if (fetched.size_bytes or 0) > limit:
                raise _too_large(limit)
            yield fetched
        finally:
            response.close()

    async def measure(self, url: str) -> Measured:
        """What the server says of the file at `url`: to a HEAD, else to a GET that is not read.

        Raises `FetchRefused` and `FetchFailed`.
        """
        try:
            measured = await self._ask("HEAD", url)
        except FetchFailed:  # servers that know no HEAD say so in many ways
            measured = None
        return measured if measured and measured.size_bytes else await self._ask("GET", url)

    async def _ask(self, method: Method, url: str) -> Measured:
        response = await self._follow(method, url, _in(self._options.measure_timeout_s / 2))
        try:
            return _measured(response)
        finally:
            response.close()

    async def _follow(self, method: Method, text: str, deadline: float) -> aiohttp.ClientResponse:
        """The answer at the end of all redirects, to be closed by the caller. It is the file itself."""
        ports = self._options.ports
        url = read_url(text, ports)
        for _ in range(self._options.max_redirects + 1):
            with _failures():
                async with asyncio.timeout_at(deadline):
                    response = await self._session.request(method, url, allow_redirects=False)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None:
                return _plain(response)
            response.close()
            url = redirected(url, location, ports)
        raise FetchFailed(f"the URL redirects more than {self._options.max_redirects} times")


def public_session(options: FetchOptions) -> aiohttp.ClientSession:
    """A client that connects to public addresses only, and tells nobody who we are. For a running loop."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            ssl=options.trust or trusted(),
            resolver=PublicResolver(options.lookup),
            use_dns_cache=False,
            socket_factory=public_sockets(options.open_socket),
            limit=options.max_connections,
            force_close=True,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=_SENT,
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=options.connect_timeout_s, sock_read=options.read_timeout_s
        ),
    )


def _plain(response: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
    """`response` when its body is the file, byte for byte; closed otherwise, with `FetchFailed`."""
    headers = response.headers
    encodings = {value.strip().lower() for value in headers.getall("Content-Encoding", [])}
    transfers = {value.strip().lower() for value in headers.getall("Transfer-Encoding", [])}
    if response.status == 200 and encodings <= {"identity", ""} and transfers <= {"chunked"}:
        return response
    response.close()
    if response.status != 200:
        raise FetchFailed(f"the URL answers with status {response.status} and not with a file")
    raise FetchFailed("the URL's server compresses the file although it was asked not to")


def _measured(response: aiohttp.ClientResponse) -> Measured:
    headers = response.headers
    return Measured(
        size_bytes=response.content_length,
        content_type=safe_content_type(headers.get("Content-Type")),
        file_name=name_of(headers.get("Content-Disposition"), response.url),
    )


@contextmanager
def _failures() -> Iterator[None]:
    """Whatever goes wrong on the way, as `Unreachable`. What exactly stays with us."""
    try:
        yield
    except TimeoutError:
        raise Unreachable("the URL's server did not give the file in time") from None
    except (aiohttp.ClientError, OSError, ValueError):
        raise Unreachable("the URL's server cannot be reached, or broke off") from None


def _in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"the file at this URL has more than {max_bytes} bytes")
