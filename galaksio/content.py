"""What is to be stored, open for reading: a file, bytes, text, or a stream on its way through a file."""

import asyncio
import io
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from galaksio.errors import Unreadable
from shared.store import UNKNOWN_TYPE, type_of_name

MAX_BYTES = 10_000 * 1024 * 1024
"""The most that any broker can be set up to take."""
TEXT_TYPE = "text/plain; charset=utf-8"
_IN_MEMORY_BYTES = 1024 * 1024
_PIECE_BYTES = 256 * 1024

Source = bytes | bytearray | str | os.PathLike[str] | IO[bytes]
"""Content itself (bytes, or text), the path of a file (`pathlib.Path`), or a file that is open."""


@dataclass(frozen=True)
class Content:
    """What is sent as the file. `source` can be read again from its start."""

    source: IO[bytes]
    size_bytes: int
    name: str
    type: str


@asynccontextmanager
async def opened(source: Source, name: str | None, type_: str | None) -> AsyncIterator[Content]:
    """`source` as content of this name and media type. Raises `OSError`, and `Unreadable` for too much."""
    opening = _opened(source, name, type_)
    content = await asyncio.to_thread(opening.__enter__)  # a pipe is read to its end
    try:
        yield content
    finally:
        opening.__exit__(None, None, None)


@contextmanager
def _opened(source: Source, name: str | None, type_: str | None) -> Iterator[Content]:
    called = name or (Path(source).name if isinstance(source, os.PathLike) else "")
    with _open(source) as file:
        size_bytes = file.seek(0, os.SEEK_END)
        if size_bytes > MAX_BYTES:
            raise Unreadable(f"{called or 'The content'} is over {MAX_BYTES} bytes, which no broker takes.")
        default = TEXT_TYPE if isinstance(source, str) else UNKNOWN_TYPE
        yield Content(file, size_bytes, called, type_ or type_of_name(called) or default)


@contextmanager
def _open(source: Source) -> Iterator[IO[bytes]]:
    """Something that can be sought in; what has no end that is known goes by way of a temporary file."""
    if isinstance(source, str):
        yield io.BytesIO(source.encode())
    elif isinstance(source, bytes | bytearray):
        yield io.BytesIO(source)
    elif isinstance(source, os.PathLike):
        with Path(source).open("rb") as file, _seekable(file) as content:
            yield content
    else:
        with _seekable(source) as content:
            yield content


@contextmanager
def _seekable(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    if stream.seekable():
        yield stream
        return
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as spool:
        while spool.tell() <= MAX_BYTES and (piece := stream.read(_PIECE_BYTES)):
            spool.write(piece)
        yield spool
