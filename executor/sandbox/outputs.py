"""The files that a run left in /box/out, read when nothing of the run is alive any more."""

import base64
import os
import stat
from typing import Literal

from executor.sandbox.limits import Limits
from shared.jobs import OutputFile

Encoding = Literal["utf-8", "base64"]

# O_NONBLOCK: opening a FIFO must not wait for a writer that never comes.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def collect(box_fd: int, encoding: Encoding, limits: Limits) -> tuple[list[OutputFile], bool]:
    """The regular files directly in `out` of the folder `box_fd`, and whether some were left out.

    Symlinks are never followed, `out` itself included; other kinds of files do not count. Files
    are taken in order of name up to `files_out` files and `files_out_bytes` in total.
    """
    try:
        out_fd = os.open("out", _OPEN_FOLDER, dir_fd=box_fd)
    except OSError:
        return [], False
    try:
        with os.scandir(out_fd) as entries:
            names = sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        files: list[OutputFile] = []
        left = limits.files_out_bytes
        for name in names[: limits.files_out]:
            data = _read(out_fd, name, left)
            if data is not None:
                files.append(_output_file(name, data, encoding))
                left -= len(data)
        return files, len(files) < len(names)
    finally:
        os.close(out_fd)


def _read(folder_fd: int, name: str, limit_bytes: int) -> bytes | None:
    """The whole file, or None if it is no regular file, unreadable or longer than `limit_bytes`."""
    try:
        fd = os.open(name, _OPEN_FILE, dir_fd=folder_fd)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit_bytes:
            return None
        with os.fdopen(os.dup(fd), "rb") as file:
            return file.read(limit_bytes)
    finally:
        os.close(fd)


def _output_file(name: str, data: bytes, encoding: Encoding) -> OutputFile:
    """Text as it is when it is UTF-8 and text was asked for, else base64: a file is never damaged."""
    shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if encoding == "utf-8":
        try:
            return OutputFile(name=shown, content=data.decode(), encoding="utf-8", size_bytes=len(data))
        except UnicodeDecodeError:
            pass
    text = base64.b64encode(data).decode()
    return OutputFile(name=shown, content=text, encoding="base64", size_bytes=len(data))
