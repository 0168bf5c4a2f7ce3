"""deploy/setup.py: what `docker compose` makes so that nobody has to type it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from eth_account import Account

from broker.main import create_app
from broker.settings import BrokerSettings
from shared.errors import StartupError
from shared.settings import CommonSettings, load_settings
from tests.containers.files import ROOT, compose
from tests.containers.test_compose import SETTINGS

SCRIPT = ROOT / "deploy/setup.py"
ALL = ("broker", "quote", "executor", "postgres", "prometheus", "grafana")


class Installation:
    """The volumes of one, as folders."""

    def __init__(self, root: Path) -> None:
        self.settings, self.secrets, self.made = root / "settings", root / "secrets", root / "made"
        for folder in (self.secrets, self.made, *(self.settings / name for name in ALL)):
            folder.mkdir(parents=True)

    def set_up(self, *arguments: str, **given: str) -> None:
        places = {f"SETUP_{n.upper()}": str(getattr(self, n)) for n in ("settings", "secrets", "made")}
        env = {"PATH": os.environ["PATH"], **places, **given}
        subprocess.run([sys.executable, SCRIPT, *arguments], env=env, check=True, timeout=60)

    def read(self, service: str, name: str) -> str:
        return (self.settings / service / name).read_text().strip()

    def load(self, service: str) -> CommonSettings:
        """What the service reads, by the names of files that compose gives it."""
        environment = compose()["services"][service]["environment"]
        files = {
            name: str(path).replace("/run/galaksio", str(self.settings / service))
            for name, path in environment.items()
            if name.endswith("_FILE")
        }
        return load_settings(SETTINGS[service], files)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_every_file_that_compose_names_is_there(installation: Installation) -> None:
    installation.set_up()
    for name, service in compose()["services"].items():
        for setting, path in service.get("environment", {}).items():
            if setting.endswith("_FILE"):
                assert (installation.settings / name / Path(path).name).exists(), (name, setting)


def test_services_share_one_token_and_have_a_database_each(installation: Installation) -> None:
    installation.set_up()
    loaded = [installation.load(name) for name in ("broker", "quote", "executor")]
    (token,) = {settings.internal_token for settings in loaded}
    assert token is not None
    assert len(token) >= 32
    broker, executor = (
        installation.read("broker", "DATABASE_URL"),
        installation.read("executor", "DATABASE_URL"),
    )
    password = installation.read("postgres", "BROKER_DB_PASSWORD")
    assert broker == f"postgresql://broker:{password}@postgres:5432/broker"
    assert executor.endswith("@postgres:5432/executor")
    assert password not in executor


def test_a_service_has_nothing_of_another(installation: Installation) -> None:
    installation.set_up(EXECUTOR_PRIVATE_KEY="0x" + "11" * 32, OPERATOR_TOKEN="operator-token-of-a-test")
    holders = {
        name: {path.parent.name for path in installation.settings.rglob(name)}
        for name in ("EXECUTOR_PRIVATE_KEY", "OPERATOR_TOKEN", "CACHE_TOKEN_KEY", "POSTGRES_PASSWORD")
    }
    assert holders == {
        "EXECUTOR_PRIVATE_KEY": {"executor"},
        "OPERATOR_TOKEN": {"broker"},
        "CACHE_TOKEN_KEY": {"broker"},
        "POSTGRES_PASSWORD": {"postgres"},
    }


def test_what_was_made_stays_the_same(installation: Installation) -> None:
    def everything() -> dict[str, str]:
        return {str(path): path.read_text() for path in installation.settings.rglob("*") if path.is_file()}

    installation.set_up()
    first = everything()
    installation.set_up()
    assert everything() == first
    for path in installation.made.iterdir():
        assert path.stat().st_mode & 0o777 == 0o400


def test_what_is_given_comes_before_what_is_made(installation: Installation) -> None:
    installation.set_up()
    (installation.secrets / "INTERNAL_API_TOKEN").write_text("from-a-file\n")
    installation.set_up()
    assert installation.read("quote", "INTERNAL_API_TOKEN") == "from-a-file"
    installation.set_up(INTERNAL_API_TOKEN="from-the-environment")
    assert installation.read("quote", "INTERNAL_API_TOKEN") == "from-the-environment"


def test_the_devnet_needs_nothing_and_leaves_nothing(installation: Installation) -> None:
    installation.set_up()
    installation.set_up("devnet")
    broker = installation.load("broker")
    assert isinstance(broker, BrokerSettings)
    assert broker.facilitator_url == "http://devnet:8402"
    key = (installation.made / "DEVNET_HOST_KEY").read_text().strip()
    assert broker.wallet_address == Account.from_key(key).address
    assert installation.read("quote", "REMOTE_PROVIDERS") == "off"
    # The next start without the profile sells on the real network again, or not at all.
    installation.set_up()
    broker = installation.load("broker")
    assert isinstance(broker, BrokerSettings)
    assert broker.facilitator_url == BrokerSettings().facilitator_url
    with pytest.raises(StartupError, match="No wallet"):
        create_app(broker)
