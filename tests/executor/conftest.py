"""Real sandboxes for the tests: one for each kind of accounting that this machine has."""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from executor.sandbox import machine, runtimes
from executor.sandbox.accounting import choose_accountant
from executor.sandbox.engine import Options, Sandbox
from executor.sandbox.identity import Identity
from executor.sandbox.limits import LIMITS
from executor.sandbox.runtimes import Runtime, find_runtimes
from shared.jobs import Language, RunRequest, RunResult

REPO = Path(__file__).parents[2]
Run = Callable[..., Awaitable[RunResult]]

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="runs need Linux")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: runs get a uid of their own only then")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/executor/" in str(item.fspath):
            item.add_marker(linux_only)


def _has_cgroup() -> bool:
    if sys.platform != "linux":
        return False
    accountant = choose_accountant("auto", LIMITS, 0)
    accountant.shutdown()
    return accountant.name != "watchdog"


CGROUP = pytest.param(
    "auto", marks=pytest.mark.skipif(not _has_cgroup(), reason="no cgroup is writable on this machine")
)


@cache
def _found(identity: Identity, _path: tuple[str | None, str]) -> dict[Language, Runtime]:
    return find_runtimes(identity)


def _known(
    identity: Identity, configured: Mapping[Language, Path | None] | None = None
) -> dict[Language, Runtime]:
    if any((configured or {}).values()):
        return find_runtimes(identity, configured)
    return dict(_found(identity, (os.environ.get("PATH"), runtimes.PATH)))


@pytest.fixture(autouse=True)
def ask_runtimes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sandboxes of this process share what this machine's programs said of themselves: asking starts four."""
    monkeypatch.setattr(machine, "find_runtimes", _known)


async def opened(options: Options) -> Sandbox:
    sandbox = Sandbox(options)
    await sandbox.open()
    return sandbox


def runner(sandbox: Sandbox) -> Run:
    async def run(code: str, language: str = "python", **fields: Any) -> RunResult:
        request = RunRequest.model_validate({"code": code, "language": language, "timeout": 20, **fields})
        return await sandbox.run(request)

    return run


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """The best sandbox of this machine."""
    made = await opened(Options(slots=2))
    assert made.state == "available", made.reason
    yield made
    await made.close()


@pytest.fixture
def run(sandbox: Sandbox) -> Run:
    return runner(sandbox)


@pytest.fixture(params=[CGROUP, "watchdog"])
async def any_sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    """Once with a cgroup, once with the watchdog."""
    made = await opened(Options(slots=2, accounting=request.param))
    assert made.state == "available", made.reason
    yield made
    await made.close()


@pytest.fixture
def run_any(any_sandbox: Sandbox) -> Run:
    return runner(any_sandbox)


_neighbours: set[int] = set()


@pytest.fixture(autouse=True)
def know_the_neighbours() -> None:
    """Services that other tests of this session keep running are none of ours."""
    _neighbours.clear()
    _neighbours.update(descendants(os.getpid()))


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, zombies included, but for those that ran before the test began."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, todo = [], [pid]
    while todo:
        children = [child for child, parent in parents.items() if parent in todo and child not in _neighbours]
        found += children
        todo = children
    return found


def with_marker(marker: str) -> list[int]:
    """The processes of this machine that carry `marker` in their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def groups_of(pid: int) -> list[str]:
    """The cgroups of the executor `pid`; others may come and go while we look."""
    found = [name for _, folders, _ in os.walk("/sys/fs/cgroup") for name in folders]
    return [name for name in found if name.startswith(f"galaksio-{pid}-")]


def reap_adopted() -> None:
    """Take over the orphans of a killed executor: a sandbox in this process made us their subreaper."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def open_descriptors() -> list[str]:
    """What each descriptor of this process stands for."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found.append(str(path.readlink()))
    return found


async def until(check: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    """Whether `check` comes true in time."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not check():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that runs of any uid can get to; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="galaksio-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
