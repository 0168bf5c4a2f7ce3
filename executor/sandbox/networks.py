"""Network namespaces for sandboxes: a loopback device each, and nothing else.

To make one and to tear it down is the dearest part of a sandbox: 2 ms of the kernel's time. So one that was
not used is used again: when no counter has moved and no socket is left, the next run cannot tell it from a
new one. No two sandboxes have the same one at a time. It belongs to the host's user namespace, so that no
capability that a run might get in its own means anything in it.

Only root can do this; for others bubblewrap makes one (`--unshare-net`). All calls block.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shared.logs import get_logger

log = get_logger(__name__)

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
COUNTERS = ("dev", "snmp", "snmp6", "netstat")
"""What `/proc/net` counts of a namespace; netstat(8) and nstat(8) read no more."""
_READ_BYTES = 64 * 1024
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(eq=False)
class Network:
    """One namespace, held by its descriptor. `sockets` and `counters` are its files of `/proc/net`."""

    namespace: int
    sockets: int
    counters: tuple[int, ...]
    before: bytes = b""

    @contextmanager
    def joined(self) -> Iterator[None]:
        """What this thread starts meanwhile is born in it."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(self.namespace)
            try:
                yield
            finally:
                _enter(home)
        finally:
            os.close(home)

    def counted(self) -> bytes:
        return b"".join(os.pread(fd, _READ_BYTES, 0) for fd in self.counters)

    def unused(self) -> bool:
        """Whether it is as it was when it was made."""
        try:
            return _no_sockets(os.pread(self.sockets, _READ_BYTES, 0)) and self.counted() == self.before
        except (OSError, ValueError, IndexError):
            return False

    def close(self) -> None:
        for fd in (self.namespace, self.sockets, *self.counters):
            with contextlib.suppress(OSError):
                os.close(fd)


class Networks:
    """Hands namespaces out, one to each sandbox. Keeps at most `most` that nobody uses."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._free: deque[Network] = deque()

    @property
    def descriptors(self) -> int:
        """How many are open for networks that nobody uses."""
        return len(self._free) * (2 + len(COUNTERS))

    def take(self) -> Network:
        """One that nobody else has. Raises `OSError`."""
        try:
            return self._free.popleft()
        except IndexError:
            return _made()

    def give_back(self, network: Network) -> None:
        """Nothing that used it is alive any more."""
        if len(self._free) < self._most and network.unused():
            self._free.append(network)
        else:
            network.close()

    def close(self) -> None:
        while self._free:
            self._free.popleft().close()


def open_networks(most: int) -> Networks | None:
    """None where this process may not make them."""
    networks = Networks(most)
    try:
        networks.give_back(networks.take())
    except OSError as exc:
        log.info("networks_are_made_by_bubblewrap", reason=str(exc))
        return None
    return networks


def _made() -> Network:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    opened: list[int] = []
    try:
        if _LIBC.unshare(CLONE_NEWNET) != 0:
            raise _failed("no network namespace can be made")
        try:
            _loopback_up()
            for name in ("ns/net", "net/sockstat", *(f"net/{counter}" for counter in COUNTERS)):
                opened.append(os.open(f"/proc/thread-self/{name}", os.O_RDONLY | os.O_CLOEXEC))
        finally:
            _enter(home)
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    finally:
        os.close(home)
    namespace, sockets, *counters = opened
    network = Network(namespace, sockets, tuple(counters))
    network.before = network.counted()
    return network


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        asked = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(control, SIOCGIFFLAGS, asked), 16)
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, CLONE_NEWNET) != 0:
        raise _failed("a thread could not change its network namespace")


def _failed(what: str) -> OSError:
    error = ctypes.get_errno()
    return OSError(error, f"{what} ({os.strerror(error)})")


def _no_sockets(sockstat: bytes) -> bool:
    """Nothing open, nothing waiting for its end. (`orphan`, `alloc` and `mem` count the whole machine.)"""
    lines = sockstat.split(b"\n")
    tcp = lines[1].split()
    return (
        lines[0] == b"sockets: used 0" and tcp[tcp.index(b"inuse") + 1] == tcp[tcp.index(b"tw") + 1] == b"0"
    )
