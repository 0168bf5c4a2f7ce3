"""Accounting by cgroup v2, where a subtree with memory and pids was delegated to us."""

import contextlib
import os
from pathlib import Path

from executor.sandbox.accounting.base import Usage
from executor.sandbox.accounting.groups import (
    GroupAccount,
    Groups,
    keyed,
    mounts,
    own_folder,
    own_name,
    remove,
    sweep,
)
from executor.sandbox.limits import LIMITS, Limits

NEEDED = frozenset({"memory", "pids"})
SERVICE = "galaksio-service"
"""The leaf that this process moves to: a group with children may hold no processes itself."""


class CgroupV2:
    """Raises `OSError` with the reason when no subtree is delegated to this process."""

    name = "cgroup-v2"
    strict_filter = False
    interval_s = 0.05

    def __init__(self, limits: Limits, ahead: int) -> None:
        self._limits = limits
        own = _own()
        _delegate(own)
        sweep(own)
        base = own / own_name()
        base.mkdir(exist_ok=True)
        try:
            _enable(base)
            self._groups = Groups([base], self._prepare, ahead)
        except OSError:
            remove([base])
            raise

    def open(self, memory_bytes: int = LIMITS.memory_bytes) -> GroupAccount:
        folders = self._groups.take()
        if memory_bytes != self._limits.memory_bytes:
            (folders[0] / "memory.max").write_text(str(memory_bytes))
        return GroupAccount(folders, self._groups.give_back, oom_kills, bill, begin=cpu_used_ms)

    def shutdown(self) -> None:
        self._groups.shutdown()

    def _prepare(self, folders: list[Path]) -> None:
        (group,) = folders
        (group / "memory.max").write_text(str(self._limits.memory_bytes))
        (group / "pids.max").write_text(str(self._limits.processes))
        # Absent where swap is not accounted, and before Linux 4.19.
        for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
            with contextlib.suppress(OSError):
                (group / name).write_text(value)


def oom_kills(folders: list[Path]) -> int:
    return keyed(folders[0] / "memory.events", "oom_kill") or 0


def cpu_used_ms(folders: list[Path]) -> int:
    """`memory.peak` cannot be set back before Linux 6.12: it includes the start of the runtime."""
    return (keyed(folders[0] / "cpu.stat", "usage_usec") or 0) // 1000


def bill(folders: list[Path], oom_killed: bool) -> Usage:
    cpu_us = keyed(folders[0] / "cpu.stat", "usage_usec")
    peak = folders[0] / "memory.peak"  # since Linux 5.19
    return Usage(
        None if cpu_us is None else cpu_us // 1000,
        int(peak.read_text()) if peak.exists() else None,
        oom_killed,
        counted=cpu_us is not None and peak.exists(),
    )


def _own() -> Path:
    """The folder of our own group. `OSError` without a v2 hierarchy that has what we need."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, _, path = line.split(":", 2)
        found = mounts("cgroup2")
        if number == "0" and found:
            root, point, _ = found[0]
            own = own_folder(root, point, path)
            if (own / "cgroup.controllers").is_file() and _words(own / "cgroup.controllers") >= NEEDED:
                return own
    raise OSError("no cgroup v2 group with the memory and pids controllers")


def _delegate(own: Path) -> None:
    """Make `own` hand its controllers to children. `OSError` when others live in it too (EBUSY)."""
    if _words(own / "cgroup.subtree_control") >= NEEDED:
        return
    leaf = own / SERVICE
    leaf.mkdir(exist_ok=True)
    moved = os.getpid()
    (leaf / "cgroup.procs").write_text(str(moved))
    try:
        _enable(own)
    except OSError:
        (own / "cgroup.procs").write_text(str(moved))
        remove([leaf])
        raise


def _enable(group: Path) -> None:
    (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(NEEDED)))


def _words(path: Path) -> set[str]:
    return set(path.read_text().split())
