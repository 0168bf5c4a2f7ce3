"""Start a program as another user without copying this process first.

`subprocess` takes the cheap way (vfork) only when it does not have to change the user; with `user=` it forks,
which costs a service of this size milliseconds and stalls its event loop. So the calling *thread* changes
its user for the start, by raw system calls (glibc's wrappers would change all threads), and changes back.
"""

import ctypes
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from executor.sandbox.runtimes import Identity

# setgroups, setresgid, setresuid
_CALLS = {"x86_64": (116, 119, 117), "aarch64": (159, 149, 147)}.get(platform.machine())
_LIBC = ctypes.CDLL(None, use_errno=True)


def spawn(words: Sequence[str], identity: Identity, **options: Any) -> "subprocess.Popen[bytes]":
    """`subprocess.Popen` as `identity`. Raises `OSError` when it does not start, or not as that user."""
    if identity.dropped and _CALLS is None:
        options |= identity.popen()
        return subprocess.Popen(words, **options)
    with this_thread_as(identity):
        return subprocess.Popen(words, **options)


@contextmanager
def this_thread_as(identity: Identity) -> Iterator[None]:
    """Root stays the saved user, so that the way back is open; `execve` forgets it in a child."""
    if not identity.dropped or _CALLS is None:
        yield
        return
    setgroups, setresgid, setresuid = _CALLS
    groups = os.getgroups()
    list_of_groups = (ctypes.c_uint32 * len(groups))(*groups)
    try:
        _call(setgroups, 0, 0)
        _call(setresgid, identity.gid, identity.gid, 0)
        _call(setresuid, identity.uid, identity.uid, 0)
        yield
    finally:
        _call(setresuid, 0, 0, 0)
        _call(setresgid, 0, 0, 0)
        _call(setgroups, len(groups), ctypes.addressof(list_of_groups))


def _call(number: int, *arguments: int) -> None:
    if _LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(value) for value in arguments)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"the user of a run could not be set ({os.strerror(error)})")


@contextmanager
def files_as(identity: Identity) -> Iterator[None]:
    """What this thread creates is `identity`s: root is nobody inside, and nobody can own a file there."""
    if not identity.dropped:
        yield
        return
    _LIBC.setfsgid(identity.gid)
    _LIBC.setfsuid(identity.uid)
    try:
        yield
    finally:
        _LIBC.setfsuid(0)
        _LIBC.setfsgid(0)
