"""Dockerfiles, checked as text; and that what they copy is enough to start a service."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from shared.serve import GRACE_AFTER_S, GRACE_S
from tests.containers.files import DOCKERFILES, PORTS, ROOT, SERVICES, compose, copied, final_stage

STARTED = "import importlib, sys; importlib.import_module(sys.argv[1] + '.main')"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_holds_its_own_service_and_shared_only(name: str) -> None:
    assert copied(name) == {"shared", name}
    assert "curl" not in DOCKERFILES[name].read_text()


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_packages_are_the_locked_ones_and_their_installer_stays_behind(name: str) -> None:
    first, _, _ = DOCKERFILES[name].read_text().rpartition("\nFROM ")
    assert re.findall(r"^FROM (\S+) AS packages$", first, re.MULTILINE) == ["python:3.13-slim"]
    installs = re.findall(r"pip install [^\n]*", first)
    assert len(installs) == 2
    assert all("--require-hashes" in line and "-r " in line for line in installs)
    assert "pip" not in final_stage(name)


def test_images_can_send_traces() -> None:
    """The extra is small, so that a host sets OTEL_EXPORTER_OTLP_ENDPOINT and nothing else."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    locked = set(
        re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements/service.lock").read_text(), re.MULTILINE)
    )
    assert {line.partition(">=")[0] for line in extras["otel"]} <= locked
    for name in SERVICES:
        assert " -r service.lock " in DOCKERFILES[name].read_text(), name
    assert "pyproject.toml --extra otel -c" in (ROOT / "scripts/lock.sh").read_text(), (
        "or the next lock drops it"
    )


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_container_runs_as_nobody_in_particular_and_says_how_it_is(name: str) -> None:
    final = final_stage(name)
    assert final.startswith("python:3.13-slim\n")
    users = re.findall(r"^USER (\S+)$", final, re.MULTILINE)
    assert users == ["galaksio"]
    assert final.index("\nUSER galaksio\n") < final.index("\nCMD ")
    assert f"EXPOSE {PORTS[name]}\n" in final
    assert f"http://127.0.0.1:{PORTS[name]}/health', timeout=" in final.partition("HEALTHCHECK")[2]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_container_is_given_the_time_that_its_service_takes_to_stop(name: str) -> None:
    assert "STOPSIGNAL SIGTERM\n" in final_stage(name)
    # The service itself is the first process, so the signal comes to it.
    assert f'\nCMD ["python", "-m", "{name}"]' in final_stage(name)
    grace_s = int(compose()["services"][name]["stop_grace_period"].removesuffix("s"))
    assert grace_s > GRACE_S + GRACE_AFTER_S


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_service_can_be_imported_with_nothing_but_what_its_image_holds(name: str, tmp_path: Path) -> None:
    for folder in copied(name):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("node_modules"))
    # The checkout is installed in the environment of the tests: its folder must not be found.
    hidden = f"import sys; sys.path[:] = [p for p in sys.path if p != {str(ROOT)!r}]; "
    hidden += "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]; "
    hidden += f"sys.path.insert(0, {str(tmp_path)!r}); "
    done = subprocess.run(
        [sys.executable, "-c", hidden + STARTED, name],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_is_sent_to_the_builder_is_only_what_images_need() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*", "first everything is left out"
    needed = {f"!{folder}" for name in DOCKERFILES for folder in copied(name)}
    assert {line for line in lines if line.startswith("!")} == needed | {"!requirements/*.lock"}
