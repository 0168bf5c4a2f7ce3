"""Settings: where they are read from, which name wins, and what is said when one is wrong."""

import re
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from broker.settings import BrokerSettings
from devnet.settings import DevnetSettings
from executor.settings import ExecutorSettings
from quote.settings import QuoteSettings
from shared.errors import StartupError
from shared.settings import CommonSettings, env_names, load_settings, private_folder, read_environment

ALL: list[type[CommonSettings]] = [BrokerSettings, QuoteSettings, ExecutorSettings, DevnetSettings]
ROOT = Path(__file__).parents[2]


def test_env_example_lists_exactly_the_settings_there_are() -> None:
    known = {name for cls in ALL for field in cls.model_fields.values() for name in env_names(field)}
    services, _, by_compose = (ROOT / ".env.example").read_text().partition("--- docker compose ---")
    assert by_compose, "what docker-compose.yaml reads comes last"
    listed = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=", services, re.MULTILINE))
    read_by_the_command = {"GALAKSIO_HOME", "DEVNET_URL", "VALKEY_PORT"}
    assert known - listed == set(), "settings missing from .env.example"
    assert listed - known - read_by_the_command == set(), ".env.example lists what nobody reads"


def test_every_setting_has_a_name_in_the_environment() -> None:
    for cls in ALL:
        for name, field in cls.model_fields.items():
            assert env_names(field), f"{cls.__name__}.{name}"


def test_the_services_own_port_name_wins_over_port() -> None:
    assert load_settings(BrokerSettings, {"PORT": "1", "BROKER_PORT": "2"}).port == 2
    assert load_settings(QuoteSettings, {"PORT": "9000"}).port == 9000
    assert load_settings(BrokerSettings, {"API_PORT": "3"}).port == 3
    assert [load_settings(cls, {}).port for cls in ALL] == [8080, 8081, 8082, 8402]  # type: ignore[attr-defined]


def test_two_names_that_disagree_are_warned_about_once() -> None:
    values = {"X402_WALLET_ADDRESS": "0xa", "BROKER_WALLET": "0xb", "PORT": "1", "BROKER_PORT": "2"}
    with capture_logs() as said:
        assert load_settings(BrokerSettings, values).wallet_address == "0xa"
    (warning,) = said
    assert (warning["event"], warning["ignored"]) == ("settings_disagree", ["BROKER_WALLET"])
    assert "0xb" not in str(warning)


def test_mainnet_means_base() -> None:
    assert load_settings(BrokerSettings, {"X402_NETWORK": "mainnet"}).x402_network == "base"


@pytest.mark.parametrize("text", ['["https://a.test", "https://b.test"]', "https://a.test, https://b.test"])
def test_cors_origins_are_a_json_list_or_comma_separated(text: str) -> None:
    assert load_settings(BrokerSettings, {"CORS_ORIGINS": text}).cors_origins == [
        "https://a.test",
        "https://b.test",
    ]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"BROKER_PORT": "eighty"}, "BROKER_PORT"),
        ({"BROKER_PORT": "70000"}, "BROKER_PORT"),
        ({"QUOTE_SERVICE_URL": "quote:8081"}, "QUOTE_SERVICE_URL"),
        ({"CORS_ORIGINS": "[broken"}, "CORS_ORIGINS"),
        ({"BROKER_FEE_USD": "NaN"}, "BROKER_FEE_USD"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(values: dict[str, str], word: str) -> None:
    with pytest.raises(StartupError) as caught:
        load_settings(BrokerSettings, values)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_environment_wins_over_the_mode_file_which_wins_over_env(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A_SETTING", "PYTHON_ENV", "NODE_ENV", "ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".env").write_text("A_SETTING=plain\nONLY_PLAIN=yes\n")
    (tmp_path / ".env.production").write_text("A_SETTING=production\n")
    (tmp_path / ".env.development").write_text("A_SETTING=development\n")
    assert read_environment(tmp_path)["A_SETTING"] == "development"
    monkeypatch.setenv("NODE_ENV", "production")
    assert read_environment(tmp_path)["A_SETTING"] == "production"
    assert read_environment(tmp_path)["ONLY_PLAIN"] == "yes"
    inner = tmp_path / "quote"
    inner.mkdir()
    assert read_environment(inner)["A_SETTING"] == "production"
    monkeypatch.setenv("A_SETTING", "environment")
    assert read_environment(tmp_path)["A_SETTING"] == "environment"
    monkeypatch.setenv("A_SETTING", "")
    assert "A_SETTING" not in read_environment(tmp_path)


def test_a_file_gives_what_is_not_set(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("  from-the-file \n")
    named = {"INTERNAL_API_TOKEN_FILE": str(secret)}
    for cls in ALL:
        assert load_settings(cls, named).internal_token == "from-the-file"
    given = {"INTERNAL_API_TOKEN": "given", **named}
    assert load_settings(BrokerSettings, given).internal_token == "given"


def test_a_file_gives_what_the_environment_leaves_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wallet").write_text("0xabc\n")
    monkeypatch.setenv("BROKER_WALLET", "")
    monkeypatch.setenv("BROKER_WALLET_FILE", str(tmp_path / "wallet"))
    monkeypatch.setenv("X402_WALLET_ADDRESS", "")
    assert load_settings(BrokerSettings, read_environment(tmp_path)).wallet_address == "0xabc"


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    given = {"OPERATOR_TOKEN_FILE": str(tmp_path / "empty")}
    assert load_settings(BrokerSettings, given).operator_token is None


def test_the_files_of_other_programs_are_not_opened() -> None:
    assert load_settings(BrokerSettings, {"SSL_CERT_FILE": "/no/such/file"}).port == 8080


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be read"), (b"\xff\xfe", "not UTF-8"), (b"x" * 70_000, "too large")],
)
def test_a_file_that_is_no_setting_is_one_sentence(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StartupError, match=reason) as caught:
        load_settings(BrokerSettings, {"OPERATOR_TOKEN_FILE": str(file)})
    said = str(caught.value)
    assert "OPERATOR_TOKEN_FILE" in said
    assert str(file) in said
    assert "\n" not in said


def test_the_data_folder_is_private_and_a_bad_one_is_one_sentence(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "new" / "home")
    assert folder.stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="GALAKSIO_HOME"):
        private_folder(tmp_path / "file" / "home")
