"""What the devnet refuses to start as, and what it listens on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import devnet
from devnet.settings import DevnetSettings
from shared.settings import load_settings
from tests.devnet.support import end_of, running, start, wait_until_up
from tests.support.ports import free_port


@pytest.mark.parametrize("network", ["base", "mainnet", "eip155:8453", "avalanche", "nonsense"])
def test_another_network_than_base_sepolia_is_refused_in_one_sentence(tmp_path: Path, network: str) -> None:
    home = tmp_path / "home"
    process = start(home, free_port(), X402_NETWORK=network)
    out, errors = end_of(process)
    assert process.returncode == 1
    assert out == ""
    (sentence,) = errors.splitlines()
    assert "X402_NETWORK" in sentence
    assert "base-sepolia" in sentence
    assert not (home / "devnet.sqlite").exists()


def test_the_caip2_spelling_of_base_sepolia_is_welcome() -> None:
    assert load_settings(DevnetSettings, {"X402_NETWORK": "eip155:84532"}).x402_network == "base-sepolia"


def test_it_binds_to_loopback_on_8402_unless_told_otherwise() -> None:
    settings = load_settings(DevnetSettings, {})
    assert (settings.host, settings.port) == ("127.0.0.1", 8402)
    told = load_settings(DevnetSettings, {"DEVNET_HOST": "0.0.0.0", "DEVNET_PORT": "9402", "PORT": "1"})
    assert (told.host, told.port) == ("0.0.0.0", 9402)


def test_a_taken_port_is_refused_in_one_sentence_and_the_state_is_not_touched(tmp_path: Path) -> None:
    with running(tmp_path / "first") as (url, _):
        process = start(tmp_path / "second", int(url.rsplit(":", 1)[1]))
        _, errors = end_of(process)
    assert process.returncode == 1
    (sentence,) = errors.splitlines()
    assert "DEVNET_PORT" in sentence
    assert not (tmp_path / "second" / "devnet.sqlite").exists()


def test_start_up_warns_never_to_fund_these_keys_and_sigterm_ends_it_cleanly(tmp_path: Path) -> None:
    with running(tmp_path / "home") as (_, process):
        process.terminate()
        _, errors = process.communicate(timeout=20)
    # uvicorn shuts down and then ends by the signal it was sent.
    assert process.returncode in (0, -signal.SIGTERM)
    assert "valid on the real base-sepolia" in errors
    assert "Traceback" not in errors
    # A clean end leaves one file: the write-ahead log was folded in.
    assert [file.name for file in (tmp_path / "home").iterdir()] == ["devnet.sqlite"]


@pytest.mark.parametrize(("folder", "target"), [("", "devnet.main:app"), ("devnet", "main:app")])
def test_uvicorn_runs_the_app_from_the_project_and_from_its_folder(
    tmp_path: Path, folder: str, target: str
) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", target, "--port", str(port)],
        cwd=Path(devnet.__file__).parent.parent / folder,
        env={"GALAKSIO_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until_up(f"http://127.0.0.1:{port}", process)
        process.terminate()
    finally:
        _, errors = end_of(process)
    assert "Traceback" not in errors


def test_importing_the_app_module_reads_no_settings_and_opens_no_file(tmp_path: Path) -> None:
    code = "import devnet.main, devnet.routes, os; assert os.listdir('.') == [], os.listdir('.')"
    env = {"GALAKSIO_HOME": str(tmp_path), "X402_NETWORK": "base", "PATH": "/usr/bin"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
