"""docker-compose.yaml, checked as text: no container engine is needed. With one, see test_stack.py."""

import json
import re
from typing import Any

import pytest

from broker.settings import BrokerSettings
from executor.settings import ExecutorSettings
from quote.settings import QuoteSettings
from shared.settings import CommonSettings, env_names
from tests.containers.files import ROOT, SERVICES, compose, for_podman, names_in

SETTINGS: dict[str, type[CommonSettings]] = {
    "broker": BrokerSettings,
    "quote": QuoteSettings,
    "executor": ExecutorSettings,
}
OF_THE_IMAGE = {"GALAKSIO_HOME"} | {
    f"{name.upper()}_{what}" for name in SERVICES for what in ("HOST", "PORT")
}
ONE_RIGHT = {"setup": ["DAC_READ_SEARCH"], "devnet-setup": ["DAC_READ_SEARCH"], "caddy": ["NET_BIND_SERVICE"]}
"""Services that are root, with this one right, and why is said beside it."""


@pytest.fixture(scope="module")
def services() -> Any:
    return compose()["services"]


def test_only_the_door_is_published_beyond_loopback(services: Any) -> None:
    for name, service in services.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:") is (name not in {"broker", "caddy"}), (name, port)


def test_what_may_be_scaled_has_no_name_and_no_port_that_only_one_can_have(services: Any) -> None:
    for name, service in services.items():
        assert "container_name" not in service, name
    assert services["executor"]["ports"] == ["127.0.0.1:${EXECUTOR_PORTS:-}:8082"]
    assert services["broker"]["ports"] == ["${BROKER_PORTS:-${BROKER_PORT:-8080}}:8080"]


def test_every_service_is_confined_and_bounded(services: Any) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service.get("cap_add", []) == ONE_RIGHT.get(name, []), name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["logging"]["options"]["max-size"], name
        assert "privileged" not in service, name
        ends = name in {"setup", "devnet-setup"}
        assert service["restart"] == ("no" if ends else "unless-stopped"), name


def test_nobody_is_root_without_a_reason(services: Any) -> None:
    for name, service in services.items():
        if name in ONE_RIGHT:
            continue
        ours = service.get("build", {}).get("dockerfile")
        user = service.get("user") or re.findall(r"^USER (.+)$", (ROOT / ours).read_text(), re.MULTILINE)[-1]
        assert user.partition(":")[0] not in {"root", "0"}, name


def test_all_that_is_written_lies_in_a_volume_that_has_a_name(services: Any) -> None:
    named = set(compose()["volumes"])
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in named or volume.endswith(":ro"), (name, volume)
            assert source in named or (ROOT / source).exists(), f"{name} mounts {source}, which is not there"


def test_databases_and_caches_are_reached_from_inside_only(services: Any) -> None:
    networks = compose()["networks"]
    assert networks["inside"]["internal"] is True
    assert networks["door"]["internal"] is True
    for name in ("postgres", "redis"):
        assert services[name]["networks"] == ["inside"]
        assert "ports" not in services[name]
    for name in SERVICES:
        assert {"inside", "outside"} <= set(services[name]["networks"])


def test_caddy_is_believed_about_its_clients_and_nobody_else_is(services: Any) -> None:
    """It meets the brokers on a network where nobody else is, under a name that is known there only."""
    assert {name for name, service in services.items() if "door" in service.get("networks", [])} == {
        "broker",
        "caddy",
    }
    (door,) = compose()["networks"]["door"]["ipam"]["config"]
    assert services["broker"]["environment"]["TRUSTED_PROXIES"] == f"${{TRUSTED_PROXIES:-{door['subnet']}}}"
    (alias,) = services["broker"]["networks"]["door"]["aliases"]
    assert f"name {alias}\n" in (ROOT / "deploy/Caddyfile").read_text()


def test_what_is_sold_has_an_address_that_clients_can_reach(services: Any) -> None:
    told = services["broker"]["environment"]["PUBLIC_BASE_URL"]
    assert told.startswith("${PUBLIC_BASE_URL:-${DOMAIN:+https://}${DOMAIN:-http://localhost:")


def test_postgres_takes_the_connections_of_many_brokers_and_executors(services: Any) -> None:
    (most,) = [int(word.partition("=")[2]) for word in services["postgres"]["command"] if "=" in word]
    each = 5 + 10  # SQLAlchemy's pool_size and max_overflow
    assert most > 3 * each + 6 * 2 * each, "three brokers, and six executors with two pools each"


def test_what_several_must_share_is_shared(services: Any) -> None:
    for name in ("broker", "executor"):
        environment = services[name]["environment"]
        assert environment["DATABASE_URL_FILE"] == "/run/galaksio/DATABASE_URL"
        assert environment["REDIS_URL"] == "${REDIS_URL:-redis://redis:6379/0}"
        assert f"{name}:/data" in services[name]["volumes"]
        assert services[name]["depends_on"]["postgres"] == {"condition": "service_healthy"}
    assert services["quote"]["environment"]["REDIS_URL"] == "${REDIS_URL:-redis://redis:6379/0}"
    assert services["redis"]["command"][1:3] == ["--appendonly", "yes"]
    assert "redis:/data" in services["redis"]["volumes"]
    assert "postgres:/var/lib/postgresql" in services["postgres"]["volumes"]


def test_whatever_can_be_asked_how_it_is_is_asked(services: Any) -> None:
    for name, service in services.items():
        if name not in {"setup", "devnet-setup"}:
            own = (ROOT / service["build"]["dockerfile"]).read_text() if "build" in service else ""
            assert "healthcheck" in service or "HEALTHCHECK" in own, name


def test_profiles_bring_what_is_not_always_wanted(services: Any) -> None:
    profiles = {name: service.get("profiles") for name, service in services.items()}
    always = {name for name, wanted in profiles.items() if wanted is None}
    assert always == {*SERVICES, "redis", "postgres", "setup"}
    assert {name for name, wanted in profiles.items() if wanted == ["devnet"]} == {"devnet", "devnet-setup"}
    assert profiles["caddy"] == ["tls"]
    assert profiles["prometheus"] == profiles["grafana"] == ["monitoring"]
    for name in always:
        for other, how in services[name].get("depends_on", {}).items():
            assert other in always or how["required"] is False, (
                f"{name} waits for {other}, which may not be there"
            )


def test_the_settings_of_the_devnet_are_written_whenever_those_of_all_are(services: Any) -> None:
    """`up prometheus` beside a stack on the devnet runs `setup` again, which takes them back."""
    waiting = {name: set(service.get("depends_on", {})) for name, service in services.items()}
    assert waiting.pop("devnet-setup") == {"setup"}
    for name, others in waiting.items():
        assert not others & {"setup"} or "devnet-setup" in others, name


def test_nothing_has_to_be_set_before_the_stack_starts() -> None:
    assert ":?" not in (ROOT / "docker-compose.yaml").read_text()


def test_secrets_come_from_files_and_stand_nowhere(services: Any) -> None:
    secret = {
        "INTERNAL_API_TOKEN",
        "OPERATOR_TOKEN",
        "CACHE_TOKEN_KEY",
        "EXECUTOR_PRIVATE_KEY",
        "DATABASE_URL",
    }
    for name in SERVICES:
        environment = services[name]["environment"]
        for setting in secret & set(environment):
            assert environment[setting] == f"${{{name.upper()}_DATABASE_URL:-}}", (name, setting)
        for setting in secret & {given.removesuffix("_FILE") for given in environment}:
            assert environment[f"{setting}_FILE"] == f"/run/galaksio/{setting}"
    given = compose()["secrets"]
    assert set(services["setup"]["secrets"]) == set(given)
    for setting, source in given.items():
        assert source["file"] == f"${{{setting}_FILE:-./deploy/unset}}"
    assert (ROOT / "deploy/unset").read_bytes() == b""


@pytest.mark.parametrize("name", SERVICES)
def test_every_setting_of_a_service_can_be_set(name: str, services: Any) -> None:
    known = {env_names(field)[0] for field in SETTINGS[name].model_fields.values()} - OF_THE_IMAGE
    passed = {given.removesuffix("_FILE") for given in services[name]["environment"]}
    assert known - passed == set(), "add them to the service in docker-compose.yaml"
    assert passed - known == set(), "nobody reads them"


def test_what_compose_itself_asks_for_is_in_the_example() -> None:
    asked = set(re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "docker-compose.yaml").read_text()))
    passed = {n for s in compose()["services"].values() for n in s.get("environment", {}) if n.isupper()}
    passed = {name for name in passed if not name.endswith("_FILE") and not name.startswith("GF_")}
    assert asked | passed <= names_in(ROOT / ".env.example")


def test_a_production_host_is_told_settings_that_exist() -> None:
    production = ROOT / ".env.production.example"
    assert names_in(production) <= names_in(ROOT / ".env.example")
    chosen = dict(re.findall(r"^([A-Z][A-Z0-9_]*)=(.*)$", production.read_text(), re.MULTILINE))
    assert chosen["X402_NETWORK"] == "base"
    assert chosen["X402_WALLET_ADDRESS"] == "", "there is no default for whom to pay"


def test_the_executors_seccomp_profile_lets_bubblewrap_work_and_little_else(services: Any) -> None:
    options = services["executor"]["security_opt"]
    assert {"systempaths=unconfined", "apparmor=unconfined"} <= set(options)
    (path,) = [text.partition("=")[2] for text in options if text.startswith("seccomp=")]
    profile = json.loads((ROOT / path).read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO", "what is not named is denied"
    allowed = {n for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for n in rule["names"]}
    unconditional = {n for rule in profile["syscalls"] if "args" not in rule for n in rule["names"]}
    assert unconditional >= {"clone", "unshare", "mount", "umount2", "pivot_root", "setns"}
    denied = {"bpf", "kexec_load", "init_module", "ptrace", "process_vm_readv", "keyctl", "add_key", "reboot"}
    denied |= {
        "io_uring_setup",
        "userfaultfd",
        "perf_event_open",
        "clock_settime",
        "open_by_handle_at",
        "clone3",
    }
    assert not allowed & denied


def test_under_podman_only_how_the_executor_is_confined_is_said_anew(services: Any) -> None:
    """Its API takes the text of a seccomp profile for the name of a file (podman issue 27710)."""
    changed = for_podman()["services"]
    assert changed.keys() == {"executor"}
    assert changed["executor"].keys() == {"security_opt"}
    own, ours = services["executor"]["security_opt"], changed["executor"]["security_opt"]
    assert set(own) ^ set(ours) == {
        "seccomp=./deploy/executor-seccomp.json",
        "systempaths=unconfined",
        "seccomp=unconfined",
        "unmask=ALL",
    }
    text = (ROOT / "deploy/podman.yaml").read_text()
    assert "security_opt: !override" in text, "both lists would hold"
