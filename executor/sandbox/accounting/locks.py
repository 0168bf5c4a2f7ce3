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
    """Looks for too many of them. Blocking calls, never two at a time.

    The file is opened for each look: to hold it open makes the end of every run 13 ms longer.
    """

    def __init__(self) -> None:
        self._path = ""
        self.were_too_many = False

    def admit(self, admitted: Admitted) -> None:
        self._path = f"/proc/{admitted.init_pid}/root/proc/locks"

    def too_many(self) -> bool:
        """Whether there are more than `MAX_LOCKS`; once there were, always."""
        self.were_too_many = self.were_too_many or self._count() > MAX_LOCKS
        return self.were_too_many

    def _count(self) -> int:
        """One line each, counted no further than is needed. 0 when the run has ended."""
        count = 0
        with contextlib.suppress(OSError):
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                while count <= MAX_LOCKS and (part := os.read(fd, _PART_BYTES)):
                    count += part.count(b"\n")
            finally:
                os.close(fd)
        return count
