"""Accounting by cgroup v1: the memory, pids and cpuacct hierarchies."""

from pathlib import Path

from executor.sandbox.accounting.base import Usage
from executor.sandbox.accounting.groups import (
    GroupAccount,
    Groups,
    keyed,
    mounts,
    own_folder,
    own_name,
    read,
    remove,
    sweep,
    write,
)
from executor.sandbox.limits import LIMITS, Limits

NEEDED = ("memory", "pids")
WANTED = ("cpuacct",)


class CgroupV1:
    """Raises `OSError` with the reason when the needed hierarchies are not here or not writable."""

    name = "cgroup-v1"
    strict_filter = False
    interval_s = 0.05

    def __init__(self, limits: Limits, ahead: int) -> None:
        self._limits = limits
        self._controllers: list[str] = []
        bases: list[Path] = []
        try:
            for controller in (*NEEDED, *WANTED):
                if (base := _base(controller)) is not None:
                    bases.append(base)
                    self._controllers.append(controller)
                elif controller in NEEDED:
                    raise OSError(f"no writable cgroup v1 hierarchy of {controller}")
            self._groups = Groups(bases, self._prepare, ahead)
        except OSError:
            remove(bases)
            raise

    def open(self, memory_bytes: int = LIMITS.memory_bytes) -> GroupAccount:
        folders = self._groups.take()
        if memory_bytes != self._limits.memory_bytes:
            _limit(folders[0], memory_bytes)
        return GroupAccount(folders, self._groups.give_back, self._oom_kills, self._bill, self._begin)

    def shutdown(self) -> None:
        self._groups.shutdown()

    def _prepare(self, folders: list[Path]) -> None:
        memory, pids = folders[0], folders[1]
        _limit(memory, self._limits.memory_bytes)
        write(pids / "pids.max", str(self._limits.processes))

    def _oom_kills(self, folders: list[Path]) -> int:
        return keyed(folders[0] / "memory.oom_control", "oom_kill") or 0

    def _bill(self, folders: list[Path], oom_killed: bool) -> Usage:
        peak = int(read(folders[0] / "memory.max_usage_in_bytes"))
        cpu_ms = self._cpu_ms(folders)
        return Usage(cpu_ms, peak, oom_killed, counted=cpu_ms is not None)

    def _begin(self, folders: list[Path]) -> int:
        write(folders[0] / "memory.max_usage_in_bytes", "0")
        return self._cpu_ms(folders) or 0

    def _cpu_ms(self, folders: list[Path]) -> int | None:
        if "cpuacct" not in self._controllers:
            return None
        return int(read(folders[-1] / "cpuacct.usage")) // 1_000_000


def _limit(memory: Path, limit_bytes: int) -> None:
    """Set both limits: neither may ever be above (memory) or below (with swap) the other."""
    swap = memory / "memory.memsw.limit_in_bytes"
    for file, needed in ((swap, False), (memory / "memory.limit_in_bytes", True), (swap, False)):
        try:
            write(file, str(limit_bytes))
        except OSError:  # no accounting of swap, or not yet below the other
            if needed:
                raise


def _base(controller: str) -> Path | None:
    """A folder of ours in the hierarchy of `controller`: under our own group, else at the mount point."""
    paths = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    for root, point, options in mounts("cgroup"):
        if controller not in options:
            continue
        for parent in (own_folder(root, point, paths.get(controller, "/")), point):
            base = parent / own_name()
            try:
                base.mkdir(exist_ok=True)
            except OSError:
                continue
            sweep(parent)
            return base
    return None
