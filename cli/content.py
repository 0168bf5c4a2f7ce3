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
    with _standard_input() if file == STDIN else _file(file) as source:
        size_bytes = source.seek(0, 2)
        if size_bytes > MAX_BYTES:
            raise CliError(f"{file} is over {MAX_BYTES} bytes, which no broker takes.")
        yield Content(source, size_bytes, called, type_ or type_of_name(called) or UNKNOWN_TYPE)


def _file(file: str) -> IO[bytes]:
    path = Path(file)
    if path.is_dir():
        raise CliError(f"{file} is a folder: store a file, or an archive of the folder.")
    try:
        return path.open("rb")
    except OSError as exc:
        raise CliError(f"{file} cannot be read: {exc.strerror}.") from None


@contextmanager
def _standard_input() -> Iterator[IO[bytes]]:
    """All of it, in a file once it is large: its length has to be known before it is sent."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as spool:
        while piece := sys.stdin.buffer.read(_PIECE_BYTES):
            if spool.tell() > MAX_BYTES:
                break
            spool.write(piece)
        yield spool
