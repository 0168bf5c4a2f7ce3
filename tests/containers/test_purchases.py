"""What scripts/compose-test.sh buys, bought from services on this machine: no container engine is needed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.files import ROOT
from tests.support.services import Stack, running_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("bought"), REDIS_URL=valkey_url) as running:
        yield running


def bought(stack: Stack, home: Path, *what: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.containers.purchases"]
    command += ["--broker", stack.broker, "--devnet", stack.devnet, *what]
    environment = {**stack.environment, "GALAKSIO_HOME": str(home)}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


def test_runs_storage_and_a_cache_are_bought_and_every_cent_is_checked(stack: Stack, tmp_path: Path) -> None:
    done = bought(stack, tmp_path, "all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "charged, for exactly what was had" in done.stdout


def test_runs_go_on_while_something_is_broken(stack: Stack, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    done = bought(stack, tmp_path, "runs", "2", "--meanwhile", f"touch {broken}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 runs were done, 0 were not" in done.stdout
    assert broken.exists()
