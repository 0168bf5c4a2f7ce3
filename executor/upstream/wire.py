"""HTTP to the providers: bounded in time and size, no redirects, and files streamed from the disk."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from executor.upstream.base import FilePart, Order
from executor.upstream.errors import UpstreamLost, UpstreamRefused, UpstreamUnreachable
from shared import __version__
from shared.http import MB
from shared.trust import trusted

CONNECT_TIMEOUT_S = 5.0
CHUNK_BYTES = 256 * 1024
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=4.0)
_MAX_BYTES = "galaksio_max_bytes"
_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
"""As browsers write the names of files and fields in a multipart body (the WHATWG's HTML)."""
_NO_ROWS = str.maketrans("", "", "\r\n")


class Wire:
    """A client of other people's servers, open from its making to `close`."""

    def __init__(self) -> None:
        self._http = httpx.AsyncClient(
            transport=_Bounded(httpx.AsyncHTTPTransport(limits=_LIMITS, trust_env=False, verify=trusted())),
            headers={"User-Agent": f"galaksio/{__version__}", "Accept-Encoding": "identity"},
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def build(self, order: Order) -> httpx.Request:
        """The request of `order`, to be sent as often as needed. Raises `UpstreamRefused` for an odd URL."""
        content: Any = None
        headers = dict(order.headers)
        if order.file is not None:
            file_bytes = (await asyncio.to_thread(order.file.path.stat)).st_size
            content = _Multipart(order.file, order.fields, file_bytes)
            headers |= content.headers
        try:
            return self._http.build_request(
                order.method,
                order.url,
                json=order.json,
                content=content,
                headers=headers,
                timeout=httpx.Timeout(order.timeout_s, connect=CONNECT_TIMEOUT_S),
                extensions={_MAX_BYTES: order.max_bytes},
            )
        except (httpx.InvalidURL, ValueError):
            raise UpstreamRefused("The provider's address cannot be used.") from None

    async def send(self, request: httpx.Request, auth: httpx.Auth | None = None) -> httpx.Response:
        """The whole answer. Raises `UpstreamUnreachable`, `UpstreamLost` and `UpstreamRefused`.

        Unreachable: the request that failed was certainly not sent.
        """
        host = urlsplit(str(request.url)).hostname
        try:
            # Given as it is, None would mean the user and password of an address that has them.
            return await self._http.send(request, auth=auth or httpx.Auth())
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            raise UpstreamUnreachable(f"{host} cannot be reached ({type(exc).__name__}).") from None
        except httpx.UnsupportedProtocol:
            raise UpstreamRefused("The provider's address cannot be used.") from None
        except httpx.RequestError as exc:
            raise UpstreamLost(f"{host} broke off ({type(exc).__name__}).") from None


class _Bounded(httpx.AsyncBaseTransport):
    """Reads no body beyond its request's limit, and none whose size is hidden by a compression."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        stream = cast(httpx.AsyncByteStream, response.stream)
        max_bytes = request.extensions[_MAX_BYTES]
        declared = response.headers.get("Content-Length", "")
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding != "identity" or (declared.isdecimal() and int(declared) > max_bytes):
            await stream.aclose()
            raise _too_much(max_bytes) if encoding == "identity" else _packed()
        response.stream = _Counted(stream, max_bytes)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Counted(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, max_bytes: int) -> None:
        self._inner = inner
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._inner:
            size += len(part)
            if size > self._max_bytes:
                raise _too_much(self._max_bytes)
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Multipart(httpx.AsyncByteStream):
    """A form with one file, the same bytes each time it is read."""

    def __init__(self, file: FilePart, fields: Mapping[str, str], file_bytes: int) -> None:
        boundary = secrets.token_hex(16)
        texts = [_part(boundary, name) + f"{value}\r\n" for name, value in fields.items()]
        head = _part(boundary, file.field, file)
        self._before = ("".join(texts) + head).encode()
        self._after = f"\r\n--{boundary}--\r\n".encode()
        self._file = file
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._before) + file_bytes + len(self._after)),
        }

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._before
        file = await asyncio.to_thread(self._file.path.open, "rb")
        try:
            while part := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield part
        finally:
            await asyncio.to_thread(file.close)
        yield self._after


def _part(boundary: str, field: str, file: FilePart | None = None) -> str:
    rows = [f"--{boundary}", f'Content-Disposition: form-data; name="{field.translate(_ESCAPES)}"']
    if file is not None:
        rows[1] += f'; filename="{file.name.translate(_ESCAPES)}"'
        rows.append(f"Content-Type: {file.content_type.translate(_NO_ROWS)}")
    return "\r\n".join([*rows, "", ""])


def _too_much(max_bytes: int) -> UpstreamRefused:
    return UpstreamRefused(f"The provider's answer is over {max_bytes / MB:g} MB.")


def _packed() -> UpstreamRefused:
    return UpstreamRefused("The provider's answer is compressed, which it was not asked for.")
