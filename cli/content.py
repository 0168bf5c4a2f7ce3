"""What is to be stored, open for reading: a file, or standard input on its way through one."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cli.config import CliError
from cli.upload import Content
from shared.store import UNKNOWN_TYPE, type_of_name

STDIN = "-"
MAX_BYTES = 10_000 * 1024 * 1024
"""The most that any broker can be set up to take."""
_IN_MEMORY_BYTES = 1024 * 1024
_PIECE_BYTES = 256 * 1024


@contextmanager
def opened(file: str, name: str = "", type_: str = "") -> Iterator[Content]:
    """The content of `file`, `-` for standard input. Raises `CliError` for what cannot be read or sent."""
    called = name or ("" if file == STDIN else Path(file).name)
    with _source(file) as source:
        size_bytes = source.seek(0, 2)
        if size_bytes > MAX_BYTES:
            raise CliError(f"{file} is over {MAX_BYTES} bytes, which no broker takes.")
        yield Content(source, size_bytes, called, type_ or type_of_name(called) or UNKNOWN_TYPE)


@contextmanager
def _source(file: str) -> Iterator[IO[bytes]]:
    """A file as it is; what has no end that is known, by way of a temporary file."""
    if file == STDIN:
        with _spooled(sys.stdin.buffer) as spool:
            yield spool
        return
    with _file(Path(file)) as source, source if source.seekable() else _spooled(source) as content:
        yield content


def _file(path: Path) -> IO[bytes]:
    if path.is_dir():
        raise CliError(f"{path} is a folder: store a file, or an archive of the folder.")
    try:
        return path.open("rb")
    except OSError as exc:
        raise CliError(f"{path} cannot be read: {exc.strerror}.") from None


@contextmanager
def _spooled(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as spool:
        while spool.tell() <= MAX_BYTES and (piece := stream.read(_PIECE_BYTES)):
            spool.write(piece)
        yield spool
