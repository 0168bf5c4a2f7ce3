"""What cgroup v1 and v2 have in common: names, preparing ahead, removing off the path, sweeping."""

import contextlib
import itertools
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from executor.sandbox.accounting.base import Admitted, Usage
from executor.sandbox.accounting.locks import Locks

PREFIX = "galaksio-"
REMOVE_TRIES, REMOVE_PAUSE_S = 200, 0.02
_serial = itertools.count(1)


class Groups:
    """One folder per controller hierarchy for this executor, and the groups of its runs in them.

    `bases` are created by the caller. Creating and removing groups costs milliseconds in the
    kernel, so a helper thread does both: `take` is a pop.
    """

    def __init__(self, bases: list[Path], prepare: Callable[[list[Path]], None], ahead: int) -> None:
        self._bases = bases
        self._prepare = prepare
        self._ready: deque[list[Path]] = deque()
        self._count = 0
        self._lock = threading.Lock()
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="cgroups")
        for _ in range(ahead):
            self._ready.append(self._make())

    def take(self) -> list[Path]:
        """The folders of a fresh group, in the order of `bases`."""
        try:
            return self._ready.popleft()
        except IndexError:
            return self._make()

    def give_back(self, folders: list[Path], died: bool = True) -> None:
        """Remove a used group and prepare the next, later."""
        self._helper.submit(self._replace, folders)

    def use_again(self, folders: list[Path]) -> None:
        """Put back a group that is as good as new."""
        self._ready.append(folders)

    def shutdown(self) -> None:
        self._helper.shutdown(wait=True)
        for base in self._bases:
            remove([*(folder for folder in base.iterdir() if folder.is_dir()), base])

    def _replace(self, folders: list[Path]) -> None:
        remove(folders)
        self._ready.append(self._make())

    def _make(self) -> list[Path]:
        with self._lock:
            self._count += 1
            name = f"run-{self._count}"
        folders = [base / name for base in self._bases]
        for folder in folders:
            folder.mkdir()
        self._prepare(folders)
        return folders


Joining = Callable[[list[Path]], AbstractContextManager[None]]


class GroupAccount:
    """An `Account` over one group; the version at hand says where its figures are.

    With `joining` a sandbox is born in its group; else it is moved there while it waits at its gate. The
    group is given back with whether its run died in it.
    """

    def __init__(
        self,
        folders: list[Path],
        give_back: Callable[[list[Path], bool], None],
        oom_kills: Callable[[list[Path]], int],
        bill: Callable[[list[Path], bool], Usage],
        *,
        begin: Callable[[list[Path]], int] = lambda _: 0,
        joining: Joining | None = None,
    ) -> None:
        self._begin = begin
        self._joining = joining
        self._cpu_before_ms = 0
        self._folders = folders
        self._give_back = give_back
        self._oom_kills = oom_kills
        self._bill = bill
        self._locks = Locks()

    def joined(self) -> AbstractContextManager[None]:
        return self._joining(self._folders) if self._joining else nullcontext()

    def admit(self, admitted: Admitted) -> None:
        self._locks.admit(admitted)
        if self._joining is None:
            for folder in self._folders:
                write(folder / "cgroup.procs", str(admitted.init_pid))
        self.begin()

    def begin(self) -> None:
        self._cpu_before_ms = self._begin(self._folders)

    def over(self) -> bool:
        # The kernel kills one process; the run it belonged to is not worth going on.
        return self._oom_kills(self._folders) > 0 or self._locks.too_many()

    def close(self) -> Usage:
        died = True
        try:
            died = self._oom_kills(self._folders) > 0 or self._locks.were_too_many
            usage = self._bill(self._folders, died)
            cpu_ms = None if usage.cpu_ms is None else usage.cpu_ms - self._cpu_before_ms
            return replace(usage, cpu_ms=cpu_ms, cpu_before_ms=self._cpu_before_ms)
        finally:
            self._give_back(self._folders, died)


def own_name() -> str:
    """A folder of this process: its pid and start time tell a later one whether it is still alive."""
    return f"{PREFIX}{os.getpid()}-{start_time(os.getpid())}-{next(_serial)}"


def start_time(pid: int) -> int | None:
    """Clock ticks since boot (proc(5), stat field 22); None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def sweep(parent: Path) -> None:
    """Kill and remove what executors that were killed left under `parent`."""
    for base in parent.glob(f"{PREFIX}*-*"):
        pid, started, *_ = base.name.removeprefix(PREFIX).split("-")
        if not (pid.isdigit() and started.isdigit()) or start_time(int(pid)) == int(started):
            continue
        try:
            groups = [folder for folder in base.iterdir() if folder.is_dir()]
        except FileNotFoundError:
            continue  # another executor sweeps, too
        for group in groups:
            kill_group(group)
        remove([*groups, base])


def kill_group(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(pid), signal.SIGKILL)


def remove(folders: list[Path]) -> None:
    """Remove groups; the kernel says EBUSY for a moment after the last process is gone."""
    for folder in folders:
        for _ in range(REMOVE_TRIES):
            try:
                folder.rmdir()
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(REMOVE_PAUSE_S)
            else:
                break


def write(path: Path | str, text: str) -> None:
    """As `Path.write_text`, at a third of its price: it is done several times for every run."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def read(path: Path) -> str:
    """As `Path.read_text`, for small files of the kernel."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096).decode("ascii")
    finally:
        os.close(fd)


def keyed(path: Path, key: str) -> int | None:
    """The number behind `key` in a file of `key value` lines."""
    for line in read(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return None


def mounts(kind: str) -> list[tuple[str, Path, set[str]]]:
    """The mounts of file system `kind`: root within it, mount point, super options (proc(5) mountinfo)."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        fields, (name, _, options) = left.split(), right.split(" ", 2)
        if name == kind:
            found.append((fields[3], Path(fields[4]), set(options.split(","))))
    return found


def own_folder(root: str, point: Path, path: str) -> Path:
    """Where the cgroup `path` of /proc/self/cgroup is on a mount of `root` at `point`."""
    if path == root or path.startswith(root.rstrip("/") + "/"):
        return point / path[len(root.rstrip("/")) :].lstrip("/")
    return point
