"""The same attacks where the executor is no root: as an ordinary user, and in its own container image."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.executor.conftest import REPO, linux_only, root_only
from tests.sandbox.attacks import ATTACKS

NOBODY = "65534"
PYTHON = "/usr/bin/python3"
IMAGE = "galaksio-executor-attacks"
# What is attacked must not have a number that a process of the sandbox has too: those begin at 1 as well.
ATTACKED = "for i in {1..300}; do (:); done; python -m tests.sandbox; exit $?"
BUILD_TIMEOUT_S, RUN_TIMEOUT_S = 900, 400


def assert_all_held(output: str, isolation: str) -> None:
    found: Any = json.loads(output.splitlines()[-1])
    assert found.get("isolation", "").startswith(isolation), found
    tried = {name: faults for name, faults in found["attacks"].items() if isinstance(faults, list)}
    assert {name: faults for name, faults in tried.items() if faults} == {}
    assert found["afterwards"] == []
    # Fewer only for want of a language or of an architecture, which the others then tell.
    assert len(tried) > len(ATTACKS) * 0.9, found["attacks"]


@linux_only
@root_only
@pytest.mark.timeout(RUN_TIMEOUT_S + 20)
def test_all_attacks_hold_for_an_executor_of_an_ordinary_user() -> None:
    """Without any capability or a way to get one, as a container with `cap_drop` would have it."""
    site = next(path for path in sys.path if path.endswith("site-packages"))
    as_nobody = [
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", PYTHON),
    ]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{REPO}:{site}", "PYTHONDONTWRITEBYTECODE": "1"}
    ready = subprocess.run(
        [*as_nobody, "-c", "import tests.sandbox.__main__"],
        env=env,
        cwd="/",
        capture_output=True,
        check=False,
    )
    if ready.returncode:
        pytest.skip(f"{PYTHON} cannot use this checkout as another user: {ready.stderr.decode()[-200:]}")
    done = subprocess.run(
        [*as_nobody, "-m", "tests.sandbox"],
        env=env,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert_all_held(done.stdout, "bubblewrap+watchdog")


def _engine() -> str | None:
    """A container engine that answers."""
    for program in ("docker", "podman"):
        if shutil.which(program):
            asked = [program, "info", "--format", "{{.ID}}"] if program == "docker" else [program, "info"]
            if subprocess.run(asked, capture_output=True, timeout=20, check=False).returncode == 0:
                return program
    return None


@pytest.mark.docker
@pytest.mark.timeout(BUILD_TIMEOUT_S + RUN_TIMEOUT_S)
def test_all_attacks_hold_in_the_container_that_compose_starts() -> None:
    engine = _engine()
    if engine is None:
        pytest.skip("no container engine answers on this machine")
    build = [engine, "build", "--quiet", "--file", "Dockerfile.executor", "--tag", IMAGE, "."]
    subprocess.run(build, cwd=REPO, check=True, capture_output=True, timeout=BUILD_TIMEOUT_S)
    run = [
        *(engine, "run", "--rm", "--network", "none", *compose_options(REPO / "docker-compose.yaml")),
        *("--volume", f"{REPO / 'tests'}:/app/tests:ro", IMAGE, "bash", "-c", ATTACKED),
    ]
    done = subprocess.run(run, cwd=REPO, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert_all_held(done.stdout, "bubblewrap+")


def compose_options(path: Path) -> list[str]:
    """How compose confines the executor, as options of `docker run`."""
    service = yaml.safe_load(path.read_text())["services"]["executor"]
    return [
        *(word for option in service["security_opt"] for word in ("--security-opt", option)),
        *(word for name in service["cap_drop"] for word in ("--cap-drop", name)),
        *(word for mount in service["tmpfs"] for word in ("--tmpfs", mount)),
        *(["--read-only"] if service["read_only"] else []),
        *("--memory", str(service["mem_limit"]), "--pids-limit", str(service["pids_limit"])),
    ]


def test_the_container_is_started_as_compose_would() -> None:
    options = compose_options(REPO / "docker-compose.yaml")
    assert {"--read-only", "systempaths=unconfined", "no-new-privileges:true", "ALL"} <= set(options)
