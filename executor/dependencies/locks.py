"""Locks on files, which hold between executors on one folder and end with the process that has them."""

import contextlib
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Lock:
    """A lock that is held until `release`."""

    path: Path
    fd: int

    def release(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def remove(self) -> None:
        """Take the file away with the lock: whoever waits for it makes a new one."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.release()


def take(path: Path, *, shared: bool = False) -> Lock | None:
    """The lock at `path`, or None when somebody has it (anybody, or an exclusive one if `shared`)."""
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, how)
            if os.fstat(fd).st_ino == _inode(path):
                return Lock(path, fd)
        except BlockingIOError:
            os.close(fd)
            return None
        os.close(fd)  # its file was removed meanwhile


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
