"""Starting by hand, with the CLI, and into obstacles: one readable sentence, never a traceback."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from tests.support import programs
from tests.support.ports import free_port
from tests.support.services import READY_S, clean_environment
from tests.support.wallets import funded_wallet, new_wallet

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
SERVICES = ("devnet", "quote", "executor", "broker")


def galaksio(
    *words: str, cwd: Path, home: Path, text: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """The command without its shell script: `python -m cli`."""
    return programs.run(
        "cli", *words, cwd=cwd, env=clean_environment(GALAKSIO_HOME=str(home), **more), text=text
    )


def wait_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url + "/health", trust_env=False, verify=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise AssertionError(f"{url} did not come up")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("from_inside", [False, True], ids=["from the root", "from inside each folder"])
def test_init_then_uvicorn_by_hand_sells_a_run(tmp_path: Path, from_inside: bool) -> None:
    home = tmp_path / "home"
    assert galaksio("init", cwd=tmp_path, home=home).returncode == 0
    written = (tmp_path / ".env.development").read_text()
    ports = {name: free_port() for name in SERVICES}
    for name, default in zip(SERVICES, ("8402", "8081", "8082", "8080"), strict=True):
        written = written.replace(f":{default}\n", f":{ports[name]}\n").replace(
            f"={default}\n", f"={ports[name]}\n"
        )
    (tmp_path / ".env.development").write_text(written)
    processes = []
    try:
        for name in SERVICES:
            target, cwd = f"{name}.main:app", tmp_path
            if from_inside and name != "devnet":
                # The seed's way (`cd quote && uvicorn main:app`): a folder with the service's modules,
                # and the settings file in the folder above it.
                target, cwd = "main:app", tmp_path / name
                shutil.copytree(ROOT / name, cwd, ignore=shutil.ignore_patterns("__pycache__"))
            processes.append(
                subprocess.Popen(
                    [BIN / "uvicorn", target, "--port", str(ports[name])],
                    cwd=cwd,
                    env=clean_environment(GALAKSIO_HOME=str(home), PWD=str(cwd)),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        urls = {name: f"http://127.0.0.1:{ports[name]}" for name in SERVICES}
        for name, process in zip(SERVICES, processes, strict=True):
            wait_healthy(urls[name], process)
        wallet = funded_wallet(urls["devnet"])
        body = {"code": "print('by hand')"}
        deadline = time.monotonic() + 20
        # Who asked before the executor was there was told so, and that is believed for a moment.
        while (challenge := price_asked(urls["broker"], body)).status_code == 503:
            assert time.monotonic() < deadline, challenge.text
            time.sleep(0.1)
        assert challenge.status_code == 402, challenge.text
        paid = httpx.post(
            urls["broker"] + "/run",
            json=body,
            headers=wallet.pay_v2(challenge),
            timeout=60,
            trust_env=False,
            verify=False,
        )
        assert paid.json()["result"]["stdout"] == "by hand\n"
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(40)


def price_asked(broker: str, body: dict[str, str]) -> httpx.Response:
    return httpx.post(broker + "/run", json=body, trust_env=False, verify=False, timeout=60)


def test_the_file_of_init_is_private_ignored_and_not_overwritten(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert galaksio("init", cwd=tmp_path, home=home).returncode == 0
    path = tmp_path / ".env.development"
    assert path.stat().st_mode & 0o777 == 0o600
    first = path.read_text()
    assert re.search(r"^X402_WALLET_ADDRESS=0x[0-9a-fA-F]{40}$", first, re.MULTILINE)
    assert re.search(r"^X402_FACILITATOR_URL=http://localhost:8402$", first, re.MULTILINE)
    again = galaksio("init", cwd=tmp_path, home=home)
    assert (again.returncode, "--force" in again.stderr) == (1, True)
    assert path.read_text() == first
    ignored = subprocess.run(["git", "check-ignore", "-q", ".env.development"], cwd=ROOT, check=False)
    if (ROOT / ".git").exists():
        assert ignored.returncode == 0


def run_module(module: str, tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(**{"GALAKSIO_HOME": str(tmp_path / "home"), **settings})
    return programs.run(module, cwd=tmp_path, env=environment)


GOOD_WALLET = "0x00000000000000000000000000000000000a11ce"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "X402_WALLET_ADDRESS"),
        ({"X402_WALLET_ADDRESS": "0x12"}, "not a 0x address"),
        ({"X402_WALLET_ADDRESS": "0x" + "0" * 40}, "not a 0x address"),
        ({"X402_WALLET_ADDRESS": "0x036CbD53842c5426634e7929541eC2318f3dCF7E"}, "checksum"),
        ({"X402_WALLET_ADDRESS": GOOD_WALLET, "X402_NETWORK": "atlantis"}, "X402_NETWORK"),
        ({"X402_WALLET_ADDRESS": GOOD_WALLET, "DATABASE_URL": "mysql://x"}, "DATABASE_URL"),
        ({"X402_WALLET_ADDRESS": GOOD_WALLET, "BROKER_PORT": "0"}, "BROKER_PORT"),
        ({"X402_WALLET_ADDRESS": GOOD_WALLET, "GALAKSIO_HOME": "/proc/nowhere"}, "GALAKSIO_HOME"),
    ],
)
def test_a_broker_that_cannot_start_says_why_in_one_line(
    tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    done = run_module("broker", tmp_path, **settings)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_an_executor_that_would_pay_from_the_wallet_that_is_paid_says_so_in_one_line(tmp_path: Path) -> None:
    wallet = new_wallet()
    settings = {"EXECUTOR_PRIVATE_KEY": wallet.key, "X402_WALLET_ADDRESS": wallet.address}
    done = run_module("executor", tmp_path, **settings, EXECUTOR_PORT=str(free_port()))
    assert done.returncode == 1
    assert "EXECUTOR_PRIVATE_KEY is the key of X402_WALLET_ADDRESS" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert wallet.key[2:] not in done.stdout + done.stderr


GOOD_SECRET = "8f2c1d0b9a7e6f5d4c3b2a190e8d7c6b"
KNOWN_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
WEAK = [
    ("broker", {"INTERNAL_API_TOKEN": "changeme"}, "INTERNAL_API_TOKEN"),
    ("quote", {"INTERNAL_API_TOKEN": "change-me-please-1"}, "looks like an example"),
    ("executor", {"INTERNAL_API_TOKEN": "k3y"}, "shorter than 16"),
    ("broker", {"OPERATOR_TOKEN": "aaaaaaaaaaaaaaaaaaaaaaaa"}, "OPERATOR_TOKEN repeats"),
    ("broker", {"METRICS_TOKEN": "my-secret-password"}, "METRICS_TOKEN"),
    ("broker", {"CACHE_TOKEN_KEY": "1111111111111111"}, "CACHE_TOKEN_KEY"),
    ("executor", {"EXECUTOR_PRIVATE_KEY": KNOWN_KEY}, "everybody knows"),
    ("executor", {"EXECUTOR_PRIVATE_KEY": "0x" + "1".rjust(64, "0")}, "everybody knows"),
]


@pytest.mark.parametrize(("module", "settings", "words"), WEAK)
def test_in_production_a_secret_that_anybody_could_guess_is_refused_in_one_line(
    tmp_path: Path, module: str, settings: dict[str, str], words: str
) -> None:
    done = run_module(module, tmp_path, PYTHON_ENV="production", X402_WALLET_ADDRESS=GOOD_WALLET, **settings)
    assert done.returncode == 1
    assert words in done.stderr
    (secret,) = settings.values()
    assert secret not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_in_development_such_a_secret_is_a_warning_and_a_good_one_is_none(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:  # nobody waits for a whole start
        port = str(taken.getsockname()[1])
        said = [
            run_module("quote", tmp_path, QUOTE_PORT=port, INTERNAL_API_TOKEN=token, **more).stderr
            for token, more in (
                ("changeme", {}),
                (GOOD_SECRET, {}),
                (GOOD_SECRET, {"PYTHON_ENV": "production"}),
            )
        ]
    assert "weak_secret" in said[0]
    assert "openssl rand" in said[0]
    for each in said:
        assert f"Port {port} is taken" in each
        assert "Traceback" not in each
    assert "weak_secret" not in said[1] + said[2]


@pytest.mark.parametrize("module", ["broker", "quote", "executor", "devnet"])
def test_a_taken_port_is_named_in_one_line(tmp_path: Path, module: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        settings = {f"{module.upper()}_PORT": port, "X402_WALLET_ADDRESS": GOOD_WALLET}
        done = run_module(module, tmp_path, **settings)
    assert done.returncode == 1
    assert f"Port {port} is taken" in done.stderr
    assert f"{module.upper()}_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    settings = {"X402_WALLET_ADDRESS": GOOD_WALLET, "BROKER_PORT": str(free_port())}
    done = run_module("broker", tmp_path, **settings, DATABASE_URL="sqlite:////proc/nowhere/ledger.sqlite")
    assert done.returncode != 0
    assert "The database cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr


def up_environment(home: Path) -> tuple[dict[str, str], dict[str, int]]:
    ports = {name: free_port() for name in SERVICES}
    settings = {f"{name.upper()}_PORT": str(port) for name, port in ports.items()}
    return clean_environment(GALAKSIO_HOME=str(home), **settings), ports


@pytest.mark.timeout(300)
def test_up_starts_everything_keeps_what_valkey_was_told_and_ctrl_c_ends_everything(tmp_path: Path) -> None:
    """Twice, on the same state; each start costs as much as a hundred other tests."""
    home = tmp_path / "home"
    environment, ports = up_environment(home)
    environment |= {"VALKEY_PORT": str(free_port()), "INTERNAL_API_TOKEN": "test-token"}
    valkey_port = int(environment["VALKEY_PORT"])
    for turn in range(2):
        with running_up(tmp_path, environment):
            check_all_answer(ports)
            check_valkey_is_private(home, valkey_port, ports["executor"])
            with Redis.from_url(valkey_address(home, valkey_port)) as redis:
                assert redis.get("kept") == (b"yes" if turn else None)
                redis.set("kept", "yes")
            again = programs.run("cli", "up", cwd=tmp_path, env=up_environment(home)[0])
            assert (again.returncode, "Another Valkey still keeps" in again.stderr) == (1, True)
        said = (tmp_path / "up.log").read_text()
        assert "Traceback" not in said
        assert said.rindex("broker") < said.rindex("valkey")
        for name in SERVICES:
            assert re.search(rf"^{name} +\| \d\d:\d\d:\d\d info", said, re.MULTILINE), name
        for port in (*ports.values(), valkey_port):
            with socket.create_server(("127.0.0.1", port)):
                pass


def check_all_answer(ports: dict[str, int]) -> None:
    for port in ports.values():
        health = httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False, verify=False, timeout=60)
        assert health.json()["ok"] is True
    url = f"http://127.0.0.1:{ports['broker']}/run"
    answer = httpx.post(url, json={"code": "print(1)"}, trust_env=False, verify=False, timeout=60)
    assert answer.status_code == 402


def check_valkey_is_private(home: Path, port: int, executor_port: int) -> None:
    assert (home / "valkey/valkey.conf").stat().st_mode & 0o777 == 0o600
    url, token = f"http://127.0.0.1:{executor_port}/providers", {"Authorization": "Bearer test-token"}
    told = httpx.get(url, headers=token, trust_env=False, verify=False, timeout=60).json()["providers"]
    status = {row["name"]: row["status"] for row in told if row["kind"] == "cache"}
    assert status == {"redis": "available", "memcached": "disabled", "xcache": "disabled"}
    with Redis(port=port) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()


def valkey_address(home: Path, port: int) -> str:
    password = re.search(r"^requirepass (\S+)$", (home / "valkey/valkey.conf").read_text(), re.MULTILINE)
    assert password is not None
    return f"redis://:{password[1]}@127.0.0.1:{port}/0"


@contextmanager
def running_up(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """`galaksio up` until the end of the block, which Ctrl-C is."""
    with (folder / "up.log").open("w") as log:
        up = subprocess.Popen(
            [BIN / "galaksio", "up"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + READY_S
        while "Galaksio is up" not in (folder / "up.log").read_text():
            assert up.poll() is None, (folder / "up.log").read_text()
            assert time.monotonic() < deadline, (folder / "up.log").read_text()
            time.sleep(0.1)
        yield
    finally:
        if up.poll() is None:
            os.killpg(up.pid, signal.SIGINT)
        up.wait(40)
    assert up.returncode == 0, (folder / "up.log").read_text()


def test_up_says_which_port_is_taken_and_starts_nothing(tmp_path: Path) -> None:
    environment, ports = up_environment(tmp_path / "home")
    with socket.create_server(("127.0.0.1", ports["quote"])):
        done = subprocess.run(
            [BIN / "galaksio", "up"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert f"Port {ports['quote']} is taken" in done.stderr
    assert "QUOTE_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_pays_and_its_sums_agree(tmp_path: Path) -> None:
    done = galaksio("demo", cwd=tmp_path, home=tmp_path / "home")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "HTTP 402 Payment Required" in done.stdout
    assert "Hello from a paid sandbox, on Python" in done.stdout
    assert "39 bytes came back as they were" in done.stdout
    assert "5000000 bytes came back as they were" in done.stdout
    assert "GET /greeting: {'hello': 'world'}; INCRBY visits 3: 3" in done.stdout
    transactions = re.findall(r"transaction (0x[0-9a-f]{64})", done.stdout)
    assert len(set(transactions)) == len(transactions) >= 4
    assert "the sum of the receipts" in done.stdout
