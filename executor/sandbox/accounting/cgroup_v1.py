"""Accounting by cgroup v1: the memory, pids and cpuacct hierarchies."""

from collections.abc import Iterator
from contextlib import contextmanager
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
from shared.logs import get_logger

log = get_logger(__name__)

NEEDED = ("memory", "pids")
WANTED = ("cpuacct",)
TASKS = "tasks"
CLEAN_BYTES = 1024 * 1024
"""What the kernel still has to free of an ended run, at most, for its group to be used again."""


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
            self._home = _home(self._controllers)
            self._groups = Groups(bases, self._prepare, ahead)
            self._joins = True
            self._try_joining()
        except OSError:
            remove(bases)
            raise

    def open(self, memory_bytes: int = LIMITS.memory_bytes) -> GroupAccount:
        folders = self._groups.take()
        give_back = self._give_back
        if memory_bytes != self._limits.memory_bytes:
            _limit(folders[0], memory_bytes)
            give_back = self._groups.give_back
        joining = self._joining if self._joins else None
        return GroupAccount(
            folders, give_back, self._oom_kills, self._bill, begin=self._begin, joining=joining
        )

    def shutdown(self) -> None:
        self._groups.shutdown()

    def _prepare(self, folders: list[Path]) -> None:
        memory, pids = folders[0], folders[1]
        _limit(memory, self._limits.memory_bytes)
        # One more for bwrap's own process outside, which is born here too.
        write(pids / "pids.max", str(self._limits.processes + 1))

    def _give_back(self, folders: list[Path], died: bool) -> None:
        """To make a group and to remove it costs the kernel more than to look whether this one is clean."""
        try:
            clean = (
                not died
                and int(read(folders[0] / "memory.usage_in_bytes")) <= CLEAN_BYTES
                and int(read(folders[1] / "pids.current")) == 0
            )
        except OSError:
            clean = False
        (self._groups.use_again if clean else self._groups.give_back)(folders)

    @contextmanager
    def _joining(self, folders: list[Path]) -> Iterator[None]:
        """This thread is in the group meanwhile: what it starts is born there.

        A thread may move itself at once; to move another process (`cgroup.procs`) the kernel stops all forks
        and exits of the machine, which takes milliseconds.
        """
        try:
            for folder in folders:
                write(folder / TASKS, "0")
            yield
        finally:
            self._go_home()

    def _go_home(self) -> None:
        try:
            for home in self._home:
                write(home, "0")
        except OSError as exc:
            # Seen never; the thread stays behind, and whoever comes next is moved from outside.
            self._joins = False
            log.error("thread_left_in_group", reason=str(exc))

    def _try_joining(self) -> None:
        """Find out whether this process may move its threads there and back: as root, as a rule."""
        folders = self._groups.take()
        try:
            for home in self._home:
                write(home, "0")
            with self._joining(folders):
                pass
        except OSError as exc:
            self._joins = False
            log.info("sandboxes_are_moved_to_their_groups", reason=str(exc))
        finally:
            self._groups.use_again(folders)

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


def _home(controllers: list[str]) -> list[Path]:
    """The `tasks` file of the group that this process is in, for each controller."""
    paths = _own_paths()
    found = []
    for controller in controllers:
        places = [
            folder / TASKS
            for root, point, options in mounts("cgroup")
            if controller in options
            and (folder := own_folder(root, point, paths.get(controller, "/"))).is_dir()
        ]
        found += places[:1]
    return found


def _own_paths() -> dict[str, str]:
    """The group of this process by controller."""
    paths = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


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
    paths = _own_paths()
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
