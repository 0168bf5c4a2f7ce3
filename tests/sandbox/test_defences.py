"""Every important defence carries weight: without it, the attacks that it is there for succeed."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from executor.sandbox.machine import PR_SET_CHILD_SUBREAPER
from tests.executor.conftest import REPO, reap_adopted, with_marker
from tests.sandbox.attacks import ATTACKS
from tests.sandbox.weakened import CONTROL, DEFENCES

# All of the attacks are made before the first test can tell of one: a minute, and more on a busy machine.
ALL_TIMEOUT_S = 400
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="runs need Linux"),
    pytest.mark.timeout(ALL_TIMEOUT_S + 20),
]
OURS = "a failure of ours"


@pytest.fixture(scope="module")
def without() -> Any:
    """What each defence's attacks achieve when it is missing, tried in processes that end with it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.weakened"],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=ALL_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", DEFENCES)
def test_its_attacks_succeed_without(without: Any, name: str) -> None:
    found = without[name]
    assert "attacks" in found, found
    if DEFENCES[name].counted_only and found["isolation"].endswith("watchdog"):
        pytest.skip("the filter that goes with a watchdog is a second wall before it")
    outcomes = found["attacks"]
    assert outcomes.pop(CONTROL) == [], "the sandbox does not work at all"
    for attack, faults in outcomes.items():
        if ATTACKS[attack].only() is None:
            assert isinstance(faults, list) and faults, f"{attack!r} holds without the {name}"
            assert not faults[0].startswith(OURS), faults


@pytest.fixture
def marker() -> Iterator[str]:
    name = f"galaksio-outlives-{os.getpid()}-{time.monotonic_ns()}"
    yield name
    for pid in with_marker(name):
        with contextlib.suppress(ProcessLookupError):  # it went with the one before it
            os.kill(pid, signal.SIGKILL)
    for _ in range(1000):
        reap_adopted()
        if not with_marker(name):
            break
        time.sleep(0.02)
    assert with_marker(name) == []


@pytest.mark.parametrize(("kept", "left"), [("yes", 0), ("no", 4)])
def test_a_killed_executor_takes_its_runs_along_only_if_they_die_with_their_parent(
    marker: str, kept: str, left: int
) -> None:
    """Left without: bwrap, its init, and both processes of the run."""
    # To us, not to init: from there any executor that starts takes them for its own dead one's.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    program = [sys.executable, "-m", "tests.sandbox.outlived", marker, kept]
    with subprocess.Popen(program, cwd=REPO, stdout=subprocess.PIPE) as executor:
        try:
            assert executor.stdout is not None
            assert b"running\n" in executor.stdout  # behind what it logs
            assert len(with_marker(marker)) == 1 + 4
        finally:
            executor.kill()
    deadline_s = time.monotonic() + 20
    while len(with_marker(marker)) > left and time.monotonic() < deadline_s:
        reap_adopted()
        time.sleep(0.02)
    time.sleep(0.2)
    assert len(with_marker(marker)) == left
