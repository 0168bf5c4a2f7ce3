"""Layers on disk: one folder for each key, complete or not there, the longest unused ones evicted.

layers/<key>/         site/ boot/ layer.json (last) durable (once the disk has it all)
locks/<key>           shared while a run reads the layer, exclusive while it is built or evicted;
                      its time is that of the last use
workshops/<n>         where a build works, with a lock of its own: they bound the builds at a time
trash/                what is being deleted
"""

import contextlib
import ctypes
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from executor.dependencies.locks import Lock, take
from executor.sandbox.layer import Layer
from executor.sandbox.reach import open_folder

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NOTE, DURABLE = "layer.json", "durable"


@dataclass
class Held:
    """A layer that cannot be evicted until `release`."""

    layer: Layer
    lock: Lock

    def release(self) -> None:
        self.lock.release()


class Store:
    """All methods block; the folder is shared by any number of processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._is_open = False
        self._boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""

    def open(self) -> None:
        """Make the folders, once. Raises `OSError`, also when the place belongs to somebody else."""
        if self._is_open:
            return
        open_folder(self.root)
        for name in ("layers", "locks", "workshops", "trash"):
            (self.root / name).mkdir(exist_ok=True, mode=0o700)
        # Runs of other uids pass through; only they know a key to ask for.
        for folder in (self.root, self.root / "layers", self.root / "workshops"):
            folder.chmod(0o711)
        self._empty_trash()
        self._is_open = True

    def hold(self, key: str) -> Held | None:
        """The layer of `key`, or None when it is not there or is being built."""
        folder = self.root / "layers" / key
        if not folder.is_dir() or (lock := take(self._lock(key), shared=True)) is None:
            return None
        if (note := self._note(key)) is None:
            lock.release()
            return None
        os.utime(lock.path)
        return Held(Layer(folder, note), lock)

    def has(self, key: str) -> bool:
        """Whether the layer of `key`, whose exclusive lock the caller has, is there and whole."""
        return self._note(key) is not None

    def begin(self, key: str) -> Lock | None:
        """The right to build the layer of `key`, or None when somebody else has it."""
        return take(self._lock(key))

    def end(self, key: str, lock: Lock) -> None:
        """Give back what `begin` gave. A wish that came to nothing leaves nothing."""
        if (self.root / "layers" / key).is_dir():
            lock.release()
        else:
            lock.remove()

    def workshop(self, count: int) -> tuple[Path, Lock] | None:
        """One of `count` folders to build in, or None when all are in use."""
        for number in range(count):
            folder = self.root / "workshops" / str(number)
            if lock := take(folder.with_suffix(".lock")):
                return folder, lock
        return None

    def publish(self, key: str, made: Path, resolved: list[str], size_bytes: int) -> None:
        """Make the folder `made` the layer of `key`, whose exclusive lock the caller has."""
        note = {"resolved": resolved, "sizeBytes": size_bytes, "boot": self._boot}
        (made / NOTE).write_text(json.dumps(note))
        target = self.root / "layers" / key
        self._throw_away(target)  # one that a power cut spoiled
        made.rename(target)

    def make_durable(self, key: str) -> None:
        """Wait until the disk has the layer. Slow: not to be done while somebody waits."""
        folder = self.root / "layers" / key
        with contextlib.suppress(FileNotFoundError):  # evicted meanwhile
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                ctypes.CDLL(None, use_errno=True).syncfs(fd)
                (folder / DURABLE).touch()
                os.fsync(fd)
            finally:
                os.close(fd)

    def evict(self, most_bytes: int) -> list[str]:
        """Delete the longest unused layers until the rest fit into `most_bytes`. Returns their keys.

        A layer in use stays, whatever its size.
        """
        sizes = {folder.name: _size_of(folder) for folder in (self.root / "layers").iterdir()}
        total_bytes = sum(sizes.values())
        gone = []
        for key in sorted(sizes, key=self._used_at):
            if total_bytes <= most_bytes:
                break
            if lock := take(self._lock(key)):
                self._throw_away(self.root / "layers" / key)
                lock.remove()
                total_bytes -= sizes[key]
                gone.append(key)
        self._empty_trash()
        return gone

    def _note(self, key: str) -> tuple[str, ...] | None:
        """What the layer holds, or None when it is not there, or a power cut may have spoiled it."""
        folder = self.root / "layers" / key
        try:
            note = json.loads((folder / NOTE).read_text())
            whole = note["boot"] == self._boot or (folder / DURABLE).exists()
            return tuple(note["resolved"]) if whole else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _used_at(self, key: str) -> float:
        try:
            return self._lock(key).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _lock(self, key: str) -> Path:
        return self.root / "locks" / key

    def _throw_away(self, folder: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            folder.rename(self.root / "trash" / uuid.uuid4().hex)

    def _empty_trash(self) -> None:
        for folder in (self.root / "trash").iterdir():
            shutil.rmtree(folder, ignore_errors=True)


def _size_of(folder: Path) -> int:
    try:
        return int(json.loads((folder / NOTE).read_text())["sizeBytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
