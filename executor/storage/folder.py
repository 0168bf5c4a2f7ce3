"""Content in a folder, which several executors of one machine (or of one network file system) may share."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from executor.storage.blobs import READ_BYTES, dumped_nodes, nodes_of, place_of
from executor.storage.errors import StorageDown
from executor.storage.staging import Staged, no_room_is_full
from shared.errors import StartupError
from shared.logs import get_logger

log = get_logger(__name__)


class Folder:
    """Blobs in `root`. The staging folder must be on the same file system: content moves by a rename."""

    def __init__(self, root: Path, reserve_bytes: int) -> None:
        self._root = root
        self._reserve_bytes = reserve_bytes
        self.shown = str(root)

    async def open(self) -> None:
        try:
            await asyncio.to_thread(self._root.mkdir, parents=True, exist_ok=True, mode=0o700)
        except OSError as exc:
            raise StartupError(f"STORAGE_URL {self._root} cannot be used: {exc.strerror}.") from None

    async def put(self, name: str, staged: Staged) -> None:
        nodes = await dumped_nodes(staged)
        with _working():
            await asyncio.to_thread(self._put, self._root / place_of(name), staged.path, nodes)

    async def read(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        # One descriptor from first to last byte: content that is deleted meanwhile is read to its end.
        with _working():
            file = await asyncio.to_thread((self._root / place_of(name)).open, "rb", buffering=0)
        try:
            while start < end:
                with _working():
                    piece = await asyncio.to_thread(_read_at, file, start, min(READ_BYTES, end - start))
                start += len(piece)
                yield piece
        finally:
            file.close()

    async def nodes(self, name: str) -> bytes:
        with _working():
            return await asyncio.to_thread((self._root / nodes_of(place_of(name))).read_bytes)

    async def delete(self, name: str) -> None:
        with _working():
            await asyncio.to_thread(self._delete, self._root / place_of(name))

    async def free_bytes(self) -> int | None:
        with _working():
            usage = await asyncio.to_thread(shutil.disk_usage, self._root)
        return max(0, usage.free - self._reserve_bytes)

    def _put(self, place: Path, staged: Path, nodes: bytes | None) -> None:
        self._make_folders(place.parent)
        if nodes is not None:
            beside = staged.with_suffix(".nodes")
            try:
                _write(beside, nodes)
                beside.rename(nodes_of(str(place)))
            finally:
                beside.unlink(missing_ok=True)
        staged.rename(place)
        _fsync_folder(place.parent)

    def _make_folders(self, folder: Path) -> None:
        """A new folder is durable once the one above it is."""
        if folder != self._root and not folder.is_dir():
            self._make_folders(folder.parent)
            folder.mkdir(exist_ok=True, mode=0o700)
            _fsync_folder(folder.parent)

    def _delete(self, place: Path) -> None:
        place.unlink(missing_ok=True)
        Path(nodes_of(str(place))).unlink(missing_ok=True)


def _read_at(file: BinaryIO, start: int, count: int) -> bytes:
    piece = os.pread(file.fileno(), count, start)
    if not piece:
        raise OSError("the content is shorter than it was")
    return piece


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _fsync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _working() -> Iterator[None]:
    try:
        with no_room_is_full():
            yield
    except OSError as exc:
        log.error("storage_folder_failed", error=str(exc))
        raise StorageDown("the stored content cannot be reached now") from None
