"""Compose file and Dockerfiles, checked as text: no container engine is needed for these.

That the images build and the stack sells a run is checked where an engine is (see docs/hosting.md).
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SERVICES = {"broker": 8080, "quote": 8081, "executor": 8082}


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yaml").read_text())


def test_only_the_broker_is_published_beyond_loopback(compose: Any) -> None:
    for name, service in compose["services"].items():
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:") is (name != "broker"), (name, port)


def test_every_service_is_confined_and_bounded(compose: Any) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["restart"] == "unless-stopped", name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert "container_name" not in service, "scaling needs names of its own"


def test_the_secrets_are_required_and_not_baked_in(compose: Any) -> None:
    for name in SERVICES:
        assert compose["services"][name]["environment"]["INTERNAL_API_TOKEN"].startswith(
            "${INTERNAL_API_TOKEN:?"
        )
    wallet = compose["services"]["broker"]["environment"]["X402_WALLET_ADDRESS"]
    assert wallet.startswith("${X402_WALLET_ADDRESS:?")


def test_devnet_comes_only_with_its_profile(compose: Any) -> None:
    assert compose["services"]["devnet"]["profiles"] == ["devnet"]
    assert all("profiles" not in compose["services"][name] for name in SERVICES)


def test_broker_and_executor_keep_caches_in_one_valkey_that_is_published_nowhere(compose: Any) -> None:
    for name in ("broker", "executor"):
        address = compose["services"][name]["environment"]["REDIS_URL"]
        assert address == "${REDIS_URL:-redis://valkey:6379/0}", name
    assert compose["services"]["valkey"]["ports"] == []
    assert "caches:/data" in compose["services"]["valkey"]["volumes"]


def test_the_executors_seccomp_profile_lets_bubblewrap_work(compose: Any) -> None:
    options = compose["services"]["executor"]["security_opt"]
    assert "systempaths=unconfined" in options
    (path,) = [text.partition("=")[2] for text in options if text.startswith("seccomp=")]
    profile = json.loads((ROOT / path).read_text())
    denied = {
        name for rule in profile["syscalls"] if rule["action"] != "SCMP_ACT_ALLOW" for name in rule["names"]
    }
    assert not denied & {"clone", "clone3", "unshare", "mount", "umount2", "pivot_root", "setns"}
    assert denied >= {"bpf", "kexec_load", "init_module", "ptrace", "keyctl", "io_uring_setup", "reboot"}


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_holds_its_own_service_and_shared_only(name: str) -> None:
    text = (ROOT / f"Dockerfile.{name}").read_text()
    final = text.split("FROM python:3.13-slim\n")[1]
    copied = set(re.findall(r"^COPY (?!--from)(\S+) ", final, re.MULTILINE))
    assert copied == {"shared", name}
    assert "--require-hashes" in text
    assert re.search(r"^USER galaksio$", final, re.MULTILINE)
    assert "/health', timeout=2" in final
    assert f"EXPOSE {SERVICES[name]}" in final
    assert "curl" not in text


def test_compose_names_only_settings_that_exist(compose: Any) -> None:
    known = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    for service in compose["services"].values():
        assert set(service["environment"]) <= known
