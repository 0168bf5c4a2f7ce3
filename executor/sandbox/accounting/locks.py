"""File locks of a run: the kernel keeps each in memory that no group and no resource limit counts.

RLIMIT_LOCKS has had no effect since Linux 2.4. A run's own `/proc/locks` lists those of its processes alone.
"""

import contextlib
import os

from executor.sandbox.accounting.base import Admitted

MAX_LOCKS = 4096
"""A database takes a few dozen; a million would be a hundred MB of the kernel's memory."""
_PART_BYTES = 64 * 1024


class Locks:
    """Looks for too many of them. Blocking calls, never two at a time."""

    def __init__(self) -> None:
        self._fd = -1
        self.were_too_many = False

    def admit(self, admitted: Admitted) -> None:
        with contextlib.suppress(FileNotFoundError):  # a kernel without file locks
            self._fd = os.open("locks", os.O_RDONLY | os.O_CLOEXEC, dir_fd=admitted.proc_fd)

    def too_many(self) -> bool:
        """Whether there are, or ever were, more than `MAX_LOCKS`."""
        self.were_too_many = self.were_too_many or self._count() > MAX_LOCKS
        return self.were_too_many

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _count(self) -> int:
        """One line each, counted no further than is needed."""
        if self._fd < 0:
            return 0
        count = 0
        with contextlib.suppress(OSError):
            os.lseek(self._fd, 0, os.SEEK_SET)
            while count <= MAX_LOCKS and (part := os.read(self._fd, _PART_BYTES)):
                count += part.count(b"\n")
        return count
