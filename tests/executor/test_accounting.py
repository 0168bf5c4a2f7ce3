"""Where figures are read and what is left behind by executors that were killed."""

import os
import subprocess
from pathlib import Path

import pytest

from executor.sandbox.accounting import groups as groups_module
from executor.sandbox.accounting.base import Usage
from executor.sandbox.accounting.cgroup_v1 import CgroupV1
from executor.sandbox.accounting.cgroup_v2 import bill, oom_kills
from executor.sandbox.accounting.groups import keyed, own_folder, sweep
from executor.sandbox.limits import LIMITS
from tests.executor.conftest import until


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("/", "/a/b", "/sys/fs/cgroup/a/b"),
        ("/", "/", "/sys/fs/cgroup"),
        ("/docker/1", "/docker/1/job", "/sys/fs/cgroup/job"),
        ("/docker/1", "/docker/1", "/sys/fs/cgroup"),
        ("/docker/1", "/docker/10", "/sys/fs/cgroup"),
        ("/docker/1", "/", "/sys/fs/cgroup"),
    ],
)
def test_our_own_group_is_found_on_any_mount(root: str, path: str, expected: str) -> None:
    assert own_folder(root, Path("/sys/fs/cgroup"), path) == Path(expected)


def test_the_figures_of_cgroup_v2_are_read_from_its_files(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 123456\nuser_usec 100000\nsystem_usec 23456\n")
    assert oom_kills([tmp_path]) == 1
    assert bill([tmp_path], True) == Usage(123, None, True, counted=False)
    (tmp_path / "memory.peak").write_text("4096\n")
    assert bill([tmp_path], False) == Usage(123, 4096, False, counted=True)
    assert keyed(tmp_path / "cpu.stat", "nice_usec") is None


async def test_groups_of_a_dead_executor_are_emptied_and_removed() -> None:
    try:
        probe = CgroupV1(LIMITS, 0)
    except OSError as exc:
        pytest.skip(f"no cgroup v1 here: {exc}")
    parent = probe._groups._bases[0].parent
    probe.shutdown()
    made, left = (parent / f"{prefix}-999999999-1-{os.getpid()}" for prefix in ("unswept", "galaksio"))
    (made / "run-1").mkdir(parents=True)
    with subprocess.Popen(["sleep", "300"]) as sleeper:
        (made / "run-1" / "cgroup.procs").write_text(str(sleeper.pid))
        made.rename(left)  # complete: any executor of this machine that starts now sweeps it
        CgroupV1(LIMITS, 0).shutdown()
        assert sleeper.wait(20) == -9
    assert await until(lambda: not left.exists())


def test_what_another_executor_sweeps_at_the_same_time_is_no_reason_to_have_no_cgroup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [tmp_path / f"galaksio-{2**30 + number}-1-1" for number in range(3)]
    for base in left:
        (base / "run-1").mkdir(parents=True)

    def overtaken(pid: int) -> None:
        """It is found dead, and gone before it is looked into."""
        base = tmp_path / f"galaksio-{pid}-1-1"
        if base in left[:2]:
            (base / "run-1").rmdir()
            base.rmdir()

    monkeypatch.setattr(groups_module, "start_time", overtaken)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
