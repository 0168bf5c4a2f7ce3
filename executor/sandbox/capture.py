"""Pipes of a run, without blocking: output is kept up to a limit, input is fed as it is taken."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from functools import partial
from typing import Literal

from executor.sandbox.limits import KIB, Limits

CHUNK_BYTES = 64 * KIB
Stream = Literal["stdout", "stderr"]
OnOutput = Callable[[Stream, bytes], None]
"""Told of output that is kept, as it comes. It has to return at once."""


def listener(stream: Stream, on_output: OnOutput | None) -> Callable[[bytes], None] | None:
    return partial(on_output, stream) if on_output else None


class Capture:
    """Reads a pipe to its end, keeps its start, calls `flooded` when there is too much of it."""

    def __init__(
        self,
        fd: int,
        limits: Limits,
        flooded: Callable[[], None],
        told: Callable[[bytes], None] | None = None,
    ) -> None:
        self._fd = fd
        self._kept_bytes = limits.output_kept_bytes
        self._killed_bytes = limits.output_killed_bytes
        self._flooded = flooded
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._seen = 0
        self.data = bytearray()
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._read)

    @property
    def truncated(self) -> bool:
        return self._seen > self._kept_bytes

    async def ended(self) -> None:
        """Wait for the end of the pipe: the last process that could write is gone."""
        await asyncio.shield(self._ended)

    def close(self) -> None:
        self._stop()
        os.close(self._fd)

    def _read(self) -> None:
        try:
            chunk = os.read(self._fd, CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._stop()
            return
        self._seen += len(chunk)
        kept = chunk[: self._kept_bytes - len(self.data)]
        self.data += kept
        if kept and self._told:
            self._told(kept)
        if self._seen > self._killed_bytes:
            self._flooded()

    def _stop(self) -> None:
        if not self._ended.done():
            self._loop.remove_reader(self._fd)
            self._ended.set_result(None)


class Feeder:
    """Writes `data` into a pipe as fast as it is read, then closes it."""

    def __init__(self, fd: int, data: bytes) -> None:
        self._fd: int | None = fd
        self._rest = memoryview(data)
        self._writing = False
        self._loop = asyncio.get_running_loop()
        if not data:
            self.close()
            return
        os.set_blocking(fd, False)
        self._writing = True
        self._loop.add_writer(fd, self._write)

    def close(self) -> None:
        if self._fd is not None:
            if self._writing:
                self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = None

    def _write(self) -> None:
        if self._fd is None:
            return
        with contextlib.suppress(BlockingIOError, InterruptedError):
            try:
                if self._rest:
                    self._rest = self._rest[os.write(self._fd, self._rest[:CHUNK_BYTES]) :]
            except BrokenPipeError:
                self._rest = self._rest[:0]
        if not self._rest:
            self.close()
