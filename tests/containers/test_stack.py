"""`make compose-test`: with a container engine the stack is built, bought from, broken and taken down."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.containers.files import ROOT

SCRIPT = ROOT / "scripts/compose-test.sh"
LONGEST_S = 1800


def run(path: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PATH": path}
    return subprocess.run(
        ["bash", SCRIPT], env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False
    )


@pytest.mark.docker
@pytest.mark.timeout(LONGEST_S)
def test_the_stack_sells_is_scaled_loses_an_executor_and_is_gone() -> None:
    done = run(os.environ["PATH"])
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    if "skipped" in done.stdout:
        pytest.skip(done.stdout.strip())
    assert "all of it works" in done.stdout


def test_without_an_engine_it_says_what_it_skipped(tmp_path: Path) -> None:
    for name in ("bash", "dirname", "env"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    done = run(str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    (sentence,) = done.stdout.splitlines()
    assert sentence.startswith("compose-test: skipped, no container engine")
