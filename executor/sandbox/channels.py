"""The descriptors between the executor and one sandbox, with both ends accounted for."""

import contextlib
import os
import socket
from typing import NamedTuple


class Pipe(NamedTuple):
    """One pipe: the end that the sandbox gets, and ours."""

    theirs: int
    ours: int


class Channels:
    """Creates descriptors (close-on-exec) and closes whatever nobody took out again."""

    def __init__(self) -> None:
        self._theirs: set[int] = set()
        self._ours: set[int] = set()

    def towards(self) -> Pipe:
        """A pipe that we write."""
        read, write = os.pipe()
        return self._keep(Pipe(theirs=read, ours=write))

    def back(self) -> Pipe:
        """A pipe that we read."""
        read, write = os.pipe()
        return self._keep(Pipe(theirs=write, ours=read))

    def pair(self) -> Pipe:
        """Two connected sockets: ours becomes readable when theirs is closed by all who had it."""
        ours, theirs = socket.socketpair()
        return self._keep(Pipe(theirs=theirs.detach(), ours=ours.detach()))

    def memory(self, data: bytes) -> int:
        """A file in memory with `data`, for the sandbox to read from its start."""
        fd = os.memfd_create("galaksio", os.MFD_CLOEXEC)
        self._theirs.add(fd)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    @property
    def theirs(self) -> tuple[int, ...]:
        return tuple(sorted(self._theirs))

    def copy(self, theirs: int) -> int:
        """An end of theirs once more, as ours."""
        fd = os.dup(theirs)
        self._ours.add(fd)
        return fd

    def take(self, fd: int) -> int:
        """Our end of a pipe, from now on the caller's to close."""
        self._ours.remove(fd)
        return fd

    def close_theirs(self) -> None:
        """To be called once the sandbox has its copies: an end of file must be able to arrive."""
        _close(self._theirs)

    def close(self) -> None:
        _close(self._theirs)
        _close(self._ours)

    def _keep(self, pipe: Pipe) -> Pipe:
        self._theirs.add(pipe.theirs)
        self._ours.add(pipe.ours)
        return pipe


def _close(fds: set[int]) -> None:
    while fds:
        with contextlib.suppress(OSError):
            os.close(fds.pop())
