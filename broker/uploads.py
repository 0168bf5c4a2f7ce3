"""A multipart body as it comes (RFC 7578): fields, one file, more fields. Only the fields are ever held."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from shared.errors import BadRequest

MAX_FIELDS = 32
MAX_FIELD_BYTES = 16 * 1024
MAX_HEADER_BYTES = 8 * 1024
FILE_FIELD = "file"
PATIENCE_S = 30.0
SLOWEST_BYTES_S = 8 * 1024
"""A sender is waited for as long as its bytes take at this pace, and `PATIENCE_S` more in all."""


class Upload:
    """Reads a body once: `open` up to the file, then `chunks` of it, or `skip`; then `fields` are all there.

    `declared_bytes` is the length of the whole body, where the client said it. All raise `BadRequest` for
    what is not multipart, or not one file, or comes too slowly, and `ClientDisconnect`.
    """

    def __init__(self, receive: Receive, content_type: str, declared_bytes: int | None) -> None:
        self.declared_bytes = declared_bytes
        self.file_bytes = 0
        self.fields: dict[str, str] = {}
        self.file_name: str | None = None
        self.file_type: str | None = None
        self.has_file = False
        self._receive = receive
        self._parts = _Parts(self, content_type)
        self._ended = False
        self._seen_bytes = 0
        self._waited_s = 0.0

    async def open(self) -> None:
        """Read as far as the file begins, or to the end where there is none."""
        while not self.has_file and not self._ended:
            await self._feed()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of the file as they come; after the last one everything was read."""
        while True:
            while self._parts.content:
                yield self._parts.content.popleft()
            if self._ended:
                return
            await self._feed()

    async def skip(self) -> None:
        """Read to the end and keep nothing of the file but its size."""
        async for _ in self.chunks():
            pass

    async def _feed(self) -> None:
        message = await self._next()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        data = message.get("body", b"")
        self._seen_bytes += len(data)
        self._parts.write(data)
        if not message.get("more_body", False):
            self._ended = True
            self._parts.end()

    async def _next(self) -> Message:
        """Only the time spent here is the sender's: how slow we are ourselves is not held against it."""
        clock = asyncio.get_running_loop().time
        began_s = clock()
        try:
            async with asyncio.timeout(PATIENCE_S + self._seen_bytes / SLOWEST_BYTES_S - self._waited_s):
                return await self._receive()
        except TimeoutError:
            raise BadRequest(
                "the upload comes too slowly; nothing was kept",
                status=408,
                code="upload_too_slow",
                headers={"Connection": "close"},
            ) from None
        finally:
            self._waited_s += clock() - began_s


class _Parts:
    """Puts what the parser calls out into an upload."""

    def __init__(self, upload: Upload, content_type: str) -> None:
        self.content: deque[bytes] = deque()
        self._upload = upload
        self._header = [bytearray(), bytearray()]
        self._headers: dict[bytes, bytes] = {}
        self._headers_bytes = 0
        self._name = ""
        self._value: bytearray | None = None
        """What a field says so far; None while the part is the file."""
        self._whole = False
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not 1 <= len(boundary) <= 70:
            raise _malformed("the boundary is missing")
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_name,
                "on_header_value": self._on_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._part_end,
                "on_end": self._on_end,
            },
        )

    def write(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except FormParserError:
            raise _malformed("it cannot be read") from None

    def end(self) -> None:
        with suppress(FormParserError):
            self._parser.finalize()
        if not self._whole:
            raise BadRequest("the upload was cut off; nothing was kept", code="upload_incomplete")

    def _begin(self) -> None:
        self._headers, self._headers_bytes = {}, 0

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._take_header(0, data[start:end])

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._take_header(1, data[start:end])

    def _take_header(self, side: int, part: bytes) -> None:
        self._headers_bytes += len(part)
        if self._headers_bytes > MAX_HEADER_BYTES:
            raise _malformed("the headers of a part are too long")
        self._header[side] += part

    def _header_end(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = [bytearray(), bytearray()]

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = _text(options.get(b"name", b""))
        file_name = options.get(b"filename")
        if file_name is None and self._name != FILE_FIELD:
            if not self._name or len(self._upload.fields) >= MAX_FIELDS or self._name in self._upload.fields:
                raise _malformed("a field has no name, comes twice, or is one too many")
            self._value = bytearray()
            return
        if self._upload.has_file:
            raise BadRequest("send one file", code="one_file")
        self._value = None
        self._upload.has_file = True
        self._upload.file_name = _text(file_name or b"") or None
        self._upload.file_type = _text(self._headers.get(b"content-type", b"")) or None

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._value is None:
            self._upload.file_bytes += end - start
            self.content.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise _malformed("a field is too long")

    def _part_end(self) -> None:
        if self._value is not None:
            self._upload.fields[self._name] = _text(bytes(self._value))

    def _on_end(self) -> None:
        self._whole = True


def is_multipart(content_type: bytes) -> bool:
    return content_type.split(b";", 1)[0].strip().lower() == b"multipart/form-data"


def options_of(fields: Mapping[str, str]) -> dict[str, str]:
    """The fields that say something: an empty one of a form is as good as none."""
    return {name: value for name, value in fields.items() if value.strip()}


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _malformed("a field or a name is not UTF-8") from None


def _malformed(what: str) -> BadRequest:
    return BadRequest(f"the multipart body is malformed: {what}", code="invalid_multipart")
