"""The files that containers are made of, read as text."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILES = {
    "broker": ROOT / "Dockerfile.broker",
    "quote": ROOT / "Dockerfile.quote",
    "executor": ROOT / "Dockerfile.executor",
    "devnet": ROOT / "devnet/Dockerfile",
}
PORTS = {"broker": 8080, "quote": 8081, "executor": 8082, "devnet": 8402}
SERVICES = ("broker", "quote", "executor")


def compose() -> Any:
    """docker-compose.yaml, its anchors resolved."""
    return yaml.safe_load((ROOT / "docker-compose.yaml").read_text())


def for_podman() -> Any:
    """What deploy/podman.yaml says in place of docker-compose.yaml."""
    return yaml.safe_load((ROOT / "deploy/podman.yaml").read_text().replace("!override", ""))


def names_in(path: Path) -> set[str]:
    """The settings that an example of an environment file names, commented out or not."""
    return set(re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=", path.read_text(), re.MULTILINE))


def final_stage(name: str) -> str:
    """What makes the image itself, after the stage that installs the packages."""
    return DOCKERFILES[name].read_text().rpartition("\nFROM ")[2]


def copied(name: str) -> set[str]:
    """The folders of the project that are in an image."""
    return set(re.findall(r"^COPY (?!--from)(\S+) ", final_stage(name), re.MULTILINE))
