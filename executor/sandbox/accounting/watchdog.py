"""Accounting without a cgroup: look at every process of the run, many times a second.

What it sees: resident and swapped pages, page tables, and the run's file systems. What it cannot
see is denied by the strict filter (memfd, System V memory, message queues) or limited by number
(sockets). A run that is quicker than the look is bounded by RLIMIT_DATA and, last, dies first when
the machine runs out (`oom_score_adj` 1000).
"""

import contextlib
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from executor.sandbox.accounting.base import Admitted, Usage
from executor.sandbox.accounting.locks import Locks
from executor.sandbox.limits import KIB, LIMITS, Limits

_PAGE_TABLES = ("VmPTE:",)
_RESIDENT = ("VmRSS:", "VmSwap:", *_PAGE_TABLES)
_PROPORTIONAL = ("Pss:", "SwapPss:")
_TICKS_MS = 1000 / os.sysconf("SC_CLK_TCK")
_MOUNTS = ("root/box", "root/tmp", "root/dev/shm")


class Watchdog:
    """Always available."""

    name = "watchdog"
    strict_filter = True
    interval_s = 0.02

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def open(self, memory_bytes: int = LIMITS.memory_bytes) -> "WatchdogAccount":
        return WatchdogAccount(replace(self._limits, memory_bytes=memory_bytes))

    def shutdown(self) -> None:
        pass


@dataclass
class WatchdogAccount:
    """Reads the run's own `/proc`, which lists its processes and nobody else's."""

    limits: Limits
    peak_bytes: int = 0
    cpu_ms: int = 0
    cpu_before_ms: int = 0
    was_over: bool = False
    _proc_fd: int = field(default=-1, repr=False)
    _locks: Locks = field(default_factory=Locks, repr=False)

    def joined(self) -> AbstractContextManager[None]:
        return nullcontext()

    def admit(self, admitted: Admitted) -> None:
        self._locks.admit(admitted)
        self._proc_fd = os.dup(admitted.proc_fd)

    def begin(self) -> None:
        self.cpu_before_ms = self._cpu_used_ms()
        self.cpu_ms = self.peak_bytes = 0

    def over(self) -> bool:
        try:
            pids = [name for name in self._list() if name.isdigit()]
        except OSError:
            return False  # the run is gone
        memory, cpu_ms = self._mounted_bytes(), 0.0
        for pid in pids:
            memory += self._memory_of(pid)
            cpu_ms += self._cpu_ms_of(pid)
        if memory > self.limits.memory_bytes and not self._mostly_tables(pids):
            # Resident pages that processes share were counted once for each of them.
            memory = self._mounted_bytes() + sum(map(self._proportional_memory_of, pids))
        self.peak_bytes = max(self.peak_bytes, memory)
        self.cpu_ms = max(self.cpu_ms, int(cpu_ms) - self.cpu_before_ms)
        self.was_over = (
            memory > self.limits.memory_bytes
            or self._sockets() > self.limits.sockets
            or self._locks.too_many()
        )
        return self.was_over

    def close(self) -> Usage:
        if self._proc_fd >= 0:
            os.close(self._proc_fd)
            self._proc_fd = -1
        return Usage(
            self.cpu_ms or None, self.peak_bytes or None, self.was_over, cpu_before_ms=self.cpu_before_ms
        )

    def _cpu_used_ms(self) -> int:
        """Of all its processes, from `/proc/<pid>/schedstat` (ns); `stat` counts in ticks of 10 ms."""
        used_ns = 0
        with contextlib.suppress(OSError, ValueError, IndexError):
            for pid in self._list():
                if pid.isdigit():
                    used_ns += int(self._read(f"{pid}/schedstat").split()[0])
        return used_ns // 1_000_000

    def _list(self) -> list[str]:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._proc_fd)
        try:
            with os.scandir(fd) as entries:
                return [entry.name for entry in entries]
        finally:
            os.close(fd)

    def _read(self, name: str) -> bytes:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc_fd)
        try:
            return os.read(fd, 16 * KIB)
        finally:
            os.close(fd)

    def _memory_of(self, pid: str) -> int:
        with contextlib.suppress(OSError):
            return _sum_kib(self._read(f"{pid}/status"), _RESIDENT)
        return 0

    def _mostly_tables(self, pids: list[str]) -> bool:
        """Half of it is page tables, which nobody shares: the fair count would walk through all of them."""
        with contextlib.suppress(OSError):
            tables = sum(_sum_kib(self._read(f"{pid}/status"), _PAGE_TABLES) for pid in pids)
            return tables > self.limits.memory_bytes // 2
        return False

    def _proportional_memory_of(self, pid: str) -> int:
        try:
            shared_fairly = _sum_kib(self._read(f"{pid}/smaps_rollup"), _PROPORTIONAL)
            return shared_fairly + _sum_kib(self._read(f"{pid}/status"), _PAGE_TABLES)
        except OSError:
            return self._memory_of(pid)

    def _cpu_ms_of(self, pid: str) -> float:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = self._read(f"{pid}/stat").rpartition(b")")[2].split()
            # utime and stime; init also has what it waited for (cutime, cstime).
            return sum(map(int, fields[11 : 15 if pid == "1" else 13])) * _TICKS_MS
        return 0.0

    def _mounted_bytes(self) -> int:
        used = 0
        for mount in _MOUNTS:
            with contextlib.suppress(OSError):
                fd = os.open(f"1/{mount}", os.O_PATH | os.O_CLOEXEC, dir_fd=self._proc_fd)
                try:
                    found = os.fstatvfs(fd)
                finally:
                    os.close(fd)
                used += (found.f_blocks - found.f_bfree) * found.f_frsize
                used += (found.f_files - found.f_ffree) * KIB
        return used

    def _sockets(self) -> int:
        """`sockets: used N` counts the sockets of the run's network namespace."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(self._read("1/net/sockstat").split()[2])
        return 0


def _sum_kib(text: bytes, names: tuple[str, ...]) -> int:
    """The `name: N kB` lines of `names`, in bytes."""
    lines = text.decode("ascii", "replace").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(names)) * KIB
