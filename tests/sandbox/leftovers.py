"""What a run could leave on the machine, looked for only where this test's own sandbox could leave it."""

import asyncio
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox.accounting.groups import PREFIX
from executor.sandbox.engine import UID_BASE, Sandbox

MARK = "galaksio-attack"
"""Files that attacks try to leave behind are called so."""
UIDS_FROM, UIDS_TO, UIDS = UID_BASE + 100, 61_184, 32
"""systemd leaves 60578..61183 unused (see `UID_BASE`); a test process takes 32 of them."""
SETTLE_TIMEOUT_S = 20.0
_PLACES = ("/", "/tmp", "/var/tmp", "/dev/shm", "/usr", "/usr/bin", "/run", tempfile.gettempdir())
_SYSV = ("shm", "sem", "msg")


@contextmanager
def own_uids() -> Iterator[int]:
    """The first of `UIDS` uids that no other test process of this machine uses at the same time."""
    for base in range(UIDS_FROM, UIDS_TO - UIDS, UIDS):
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0galaksio-uids-{base}")
            except OSError:
                continue
            yield base
            return
    raise RuntimeError("all uids for tests are in use")


async def settled(sandbox: Sandbox) -> Sandbox:
    """`sandbox`, once all that its pool wants is waiting."""
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while sandbox.pool is not None and not sandbox.pool.settled:
            await asyncio.sleep(0.02)
    return sandbox


async def begun(sandbox: Sandbox) -> None:
    """Returns when no process is still to come of what waits: behind a gate it begins a little later."""
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while True:
            await settled(sandbox)
            waiting = sandbox.pool.waiting.values() if sandbox.pool else ()
            parents = {process.parent for process in _processes()}
            if all(started.running.init_pid in parents for kept in waiting for started in kept):
                return
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Process:
    """One line of `/proc`."""

    pid: int
    parent: int
    uid: int
    state: str
    name: str


class Leftovers:
    """Knows what was there before the first attack. To be made when the pool has settled."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._uids = range(sandbox.options.uid_base, sandbox.options.uid_base + UIDS)
        self._pooled = sandbox.pool is not None
        self._networks = sandbox.networks
        self._groups = _own_groups()
        self._known = {process.pid for process in self._ours(set())}
        self._group_count = len(self._run_groups())
        self._busy_count = len(self._busy_groups())
        self._descriptors = self._open()

    def found(self, namespaces: set[str]) -> list[str]:
        """All that is left of runs that lived in `namespaces`; empty when nothing is."""
        left = [f"the init {pid} of {name}" for pid, name in _inits(namespaces)]
        for process in self._ours(self._known):
            # A pool keeps sandboxes ready that nothing has run in: those live in other namespaces.
            if not self._pooled or process.state == "Z":
                left.append(f"process {process.pid} ({process.name}, {process.state}) of uid {process.uid}")
        groups = self._run_groups()
        busy = self._busy_groups()
        if len(busy) > self._busy_count:
            left.append(f"processes in {len(busy)} cgroups instead of {self._busy_count}")
        # Some more are prepared when a run comes before the last one's group is removed.
        if len(groups) > 2 * self._group_count:
            left.append(f"{len(groups)} cgroups instead of {self._group_count}")
        if self._open() > self._descriptors:
            left.append(f"{self._open()} descriptors of ours instead of {self._descriptors}")
        return left + _files() + self._sysv()

    def _ours(self, known: set[int]) -> list[Process]:
        """Below this process; as root, also whatever has the uid of a slot, wherever it hangs."""
        processes = {process.pid: process for process in _processes()}
        below, todo = set(), {os.getpid()}
        while todo:
            todo = {pid for pid, process in processes.items() if process.parent in todo} - below
            below |= todo
        if os.geteuid() == 0:
            below |= {pid for pid, process in processes.items() if process.uid in self._uids}
        return [processes[pid] for pid in sorted(below - known)]

    def _open(self) -> int:
        """Descriptors of this process, without those of networks that wait for the next run."""
        kept = self._networks.descriptors if self._networks else 0
        return sum(1 for _ in Path("/proc/self/fd").iterdir()) - kept

    def _run_groups(self) -> list[Path]:
        return [run for base in self._groups if base.is_dir() for run in base.glob("run-*")]

    def _busy_groups(self) -> list[Path]:
        """Those with processes: what waits in the pool has one in every hierarchy."""
        return [group for group in self._run_groups() if not _is_empty(group)]

    def _sysv(self) -> list[str]:
        """System V objects of a slot's uid (column 8 of shm and msg, 5 of sem: proc(5))."""
        if os.geteuid() != 0:
            return []
        left = []
        for kind in _SYSV:
            table = Path(f"/proc/sysvipc/{kind}")
            lines = table.read_text().splitlines() if table.exists() else []
            for line in lines[1:]:
                uid = int(line.split()[lines[0].split().index("uid")])
                if uid in self._uids:
                    left.append(f"a System V {kind} of uid {uid}")
        return left


def _processes() -> Iterator[Process]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            head, _, rest = (folder / "stat").read_text().rpartition(")")
            fields = rest.split()
            uid = folder.stat().st_uid
        except OSError:
            continue
        yield Process(int(folder.name), int(fields[1]), uid, fields[0], head.partition("(")[2])


def _inits(namespaces: set[str]) -> list[tuple[int, str]]:
    """The living inits of `namespaces`. A namespace ends with its init; its number is then used again."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            started = (folder / "stat").read_text().rpartition(")")[2].split()[19]
            name = f"{(folder / 'ns/pid').readlink()} {started}"
        except OSError:
            continue
        if name in namespaces:
            found.append((int(folder.name), name))
    return found


def _own_groups() -> list[Path]:
    """The cgroup folders of this process, in all hierarchies; those of others come and go meanwhile."""
    prefix = f"{PREFIX}{os.getpid()}-"
    return [
        Path(folder, name)
        for folder, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if name.startswith(prefix)
    ]


def _is_empty(group: Path) -> bool:
    try:
        return not (group / "cgroup.procs").read_text()
    except OSError:
        return True  # removed meanwhile


def _files() -> list[str]:
    return [f"the file {path}" for place in set(_PLACES) for path in Path(place).glob(f"{MARK}*")]
