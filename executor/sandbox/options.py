"""How to sandbox: what `ExecutorSettings` or a program says."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from executor.sandbox.accounting.choose import Choice
from executor.sandbox.limits import MIB
from executor.sandbox.uids import UID_BASE
from shared.jobs import DEFAULT_SIZE, MEMORY_MB, Language

_GROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Options:
    """`slots` 0 means one for each core, `memory_mb` 0 three quarters of what this machine lets us have.

    `pool` sandboxes wait for each language; 0 means none. Not for long: `recycle_s`.
    """

    off: bool = False
    bwrap: Path | None = None
    accounting: Choice = "auto"
    slots: int = 0
    queue: int = 16
    max_wait_s: float = 10.0
    uid_base: int = UID_BASE
    runtimes: Mapping[Language, Path | None] = field(default_factory=dict)
    memory_mb: int = 0
    pool: int = 0
    recycle_s: float = 600.0
    drain_s: float = 30.0

    @property
    def slot_count(self) -> int:
        return self.slots or cores()

    @property
    def memory_budget_mb(self) -> int:
        return self.memory_mb or max(MEMORY_MB[DEFAULT_SIZE], machine_memory_mb() * 3 // 4)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_memory_mb() -> int:
    """What the machine has, or the container's limit if that is less."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _GROUP_LIMITS:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):  # no such hierarchy, or "max"
            continue
    return min(found) // MIB
