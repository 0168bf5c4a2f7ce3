"""Where content waits until it is whole: a folder for each process, emptied by the next one if it dies.

staging/<owner>/      what the process `owner` is receiving
staging/<owner>.lock  held for as long as that process lives; the kernel lets go of it after a kill -9
"""

import asyncio
import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.dependencies.locks import Lock, take
from executor.storage.errors import ContentTooLarge, StorageFull
from shared.ipfs import Builder, Dag

PIECE_BYTES = 1024 * 1024
"""What is written and hashed at a time, in a thread. An upload has two or three of them in memory."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True)
class Staged:
    """Whole content on this machine's disk, and what it is."""

    path: Path
    dag: Dag


class Staging:
    """This process's part of the folder `root`. At least `reserve_bytes` of its disk stay free."""

    def __init__(self, root: Path, owner: str, reserve_bytes: int) -> None:
        self.root = root
        self.owner = owner
        self._reserve_bytes = reserve_bytes
        self._lock: Lock | None = None

    def open(self) -> list[str]:
        """Make the folder and remove those of dead processes. Returns their owners. Raises `OSError`."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = take(self._folder.with_suffix(".lock"))
        self._folder.mkdir(mode=0o700)
        return self._sweep()

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.remove()

    def free_bytes(self) -> int:
        """Room on the disk beyond the reserve."""
        return max(0, shutil.disk_usage(self.root).free - self._reserve_bytes)

    @asynccontextmanager
    async def stage(self, content: AsyncIterable[bytes], max_bytes: int) -> AsyncIterator[Staged]:
        """Receive `content`; its file is gone when the block is left, unless somebody moved it away.

        Raises `ContentTooLarge` beyond `max_bytes`, `StorageFull`, and what `content` raises.
        """
        path = self._folder / uuid.uuid4().hex
        try:
            yield Staged(path, await self._receive(path, content, max_bytes))
        finally:
            path.unlink(missing_ok=True)

    async def _receive(self, path: Path, content: AsyncIterable[bytes], max_bytes: int) -> Dag:
        with no_room_is_full():
            sink = await asyncio.to_thread(_Sink, path, self.free_bytes)
            try:
                async for piece in _pieces(content, max_bytes):
                    await sink.write(piece)
                return await sink.finish()
            finally:
                await sink.close()

    @property
    def _folder(self) -> Path:
        return self.root / self.owner

    def _sweep(self) -> list[str]:
        dead = []
        for file in self.root.glob("*.lock"):
            if lock := take(file):
                shutil.rmtree(file.with_suffix(""), ignore_errors=True)
                lock.remove()
                dead.append(file.stem)
        return dead


class _Sink:
    """A new file. A thread writes and hashes one piece while the next one is received."""

    def __init__(self, path: Path, free_bytes: Callable[[], int]) -> None:
        self._file = path.open("xb", buffering=0)
        self._free_bytes = free_bytes
        self._builder = Builder()
        self._busy: asyncio.Future[Any] | None = None

    async def write(self, piece: bytes | bytearray) -> None:
        """Raises what the piece before came to."""
        await self._call(self._write, piece)

    async def finish(self) -> Dag:
        """What was written, once the disk has it."""
        await self._call(self._finish)
        dag: Dag = await self._settled()
        return dag

    async def close(self) -> None:
        # A thread cannot be stopped, and must not write to a descriptor that is somebody else's by then.
        if self._busy is not None:
            await asyncio.wait({self._busy})
            self._busy.exception()
        self._file.close()

    async def _call(self, work: Callable[..., Any], *arguments: Any) -> None:
        await self._settled()
        self._busy = asyncio.get_running_loop().run_in_executor(None, work, *arguments)

    async def _settled(self) -> Any:
        """What the last call returned. Being cancelled does not cancel it."""
        if self._busy is None:
            return None
        await asyncio.wait({self._busy})
        return self._busy.result()

    def _write(self, piece: bytes | bytearray) -> None:
        if self._free_bytes() < len(piece):
            raise StorageFull
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._builder.update(piece)

    def _finish(self) -> Dag:
        os.fsync(self._file.fileno())
        return self._builder.finish()


async def _pieces(content: AsyncIterable[bytes], max_bytes: int) -> AsyncIterator[bytearray]:
    """`content` in portions of `PIECE_BYTES` or a little more."""
    piece, seen = bytearray(), 0
    async for chunk in content:
        seen += len(chunk)
        if seen > max_bytes:
            raise ContentTooLarge(f"the content is over {max_bytes} bytes")
        piece += chunk
        if len(piece) >= PIECE_BYTES:
            yield piece
            piece = bytearray()
    if piece:
        yield piece


@contextlib.contextmanager
def no_room_is_full() -> Iterator[None]:
    """A disk, quota or limit that takes no more is a `StorageFull`."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _NO_ROOM:
            raise StorageFull from None
        raise
