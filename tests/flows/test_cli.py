"""The command line as a person uses it, against the real stack."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.test_startup import galaksio
from tests.support.services import Stack
from tests.support.wallets import Wallet


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def logged_in(stack: Stack, wallet: Wallet, tmp_path: Path, home: Path) -> Wallet:
    done = galaksio("login", "-k", wallet.key, "--url", stack.broker, cwd=tmp_path, home=home)
    assert done.returncode == 0, done.stderr
    assert wallet.address in done.stdout
    return wallet


def test_the_key_is_kept_in_a_private_file_and_never_shown(
    logged_in: Wallet, tmp_path: Path, home: Path
) -> None:
    path = home / "config.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["private_key"] == logged_in.key
    shown = galaksio("config", cwd=tmp_path, home=home)
    assert logged_in.address in shown.stdout
    assert logged_in.key[2:] not in shown.stdout + shown.stderr


def test_run_pays_and_passes_output_and_exit_code_on(
    stack: Stack, logged_in: Wallet, tmp_path: Path, home: Path
) -> None:
    before = stack.balance(logged_in.address)
    (tmp_path / "job.py").write_text(
        "import sys; print('out', *sys.argv[1:]); print('err', file=sys.stderr); sys.exit(3)"
    )
    done = galaksio("run", "job.py", "--arg", "a b", cwd=tmp_path, home=home)
    assert done.returncode == 3
    assert done.stdout == "out a b\n"
    assert "err\n" in done.stderr
    assert "Price: $0.0058 in USDC on base-sepolia" in done.stderr
    assert "transaction 0x" in done.stderr
    assert before - stack.balance(logged_in.address) == 5800


def test_a_large_run_is_paid_by_its_memory_and_an_unknown_size_not_at_all(
    stack: Stack, logged_in: Wallet, tmp_path: Path, home: Path
) -> None:
    before = stack.balance(logged_in.address)
    (tmp_path / "job.py").write_text("print('sized')")
    done = galaksio("run", "job.py", "--size", "large", cwd=tmp_path, home=home)
    assert (done.returncode, done.stdout) == (0, "sized\n"), done.stderr
    assert before - stack.balance(logged_in.address) == 6400
    done = galaksio("run", "job.py", "--size", "huge", cwd=tmp_path, home=home)
    assert (done.returncode, done.stdout) == (1, "")
    assert "small, medium, large" in done.stderr
    assert before - stack.balance(logged_in.address) == 6400


def test_a_price_over_the_cap_is_not_signed(
    stack: Stack, logged_in: Wallet, tmp_path: Path, home: Path
) -> None:
    before = stack.balance(logged_in.address)
    (tmp_path / "job.sh").write_text("echo hi")
    done = galaksio("run", "job.sh", "--max-cost", "0.001", cwd=tmp_path, home=home)
    assert done.returncode == 1
    assert "over your cap of $0.001" in done.stderr
    assert done.stdout == ""
    assert stack.balance(logged_in.address) == before


def test_another_network_than_the_one_logged_in_for_is_not_paid_on(
    stack: Stack, wallet: Wallet, tmp_path: Path, home: Path
) -> None:
    words = ("login", "-k", wallet.key, "--url", stack.broker, "--network", "base")
    assert galaksio(*words, cwd=tmp_path, home=home).returncode == 0
    (tmp_path / "job.py").write_text("print(1)")
    done = galaksio("run", "job.py", cwd=tmp_path, home=home)
    assert done.returncode == 1
    assert stack.balance(wallet.address) == 100_000_000


def test_code_is_read_from_standard_input(
    stack: Stack, logged_in: Wallet, tmp_path: Path, home: Path
) -> None:
    done = galaksio("run", "-", "-l", "python", cwd=tmp_path, home=home, text="print('piped')")
    assert (done.returncode, done.stdout) == (0, "piped\n"), done.stderr


def test_quote_prints_a_comparison_without_a_login(stack: Stack, tmp_path: Path, home: Path) -> None:
    for operation in ("run", "store", "cache"):
        done = galaksio("quote", operation, "--url", stack.broker, cwd=tmp_path, home=home)
        assert done.returncode == 0, done.stderr
        assert "provider" in done.stdout
        assert "local" in done.stdout or "redis" in done.stdout


@pytest.mark.parametrize(
    ("words", "price"),
    [
        (("run", "job.py", "--size", "small", "--timeout", "10"), "0.00025"),
        (("run", "--size", "2048"), "0.0008"),
        (("store", "--size", "100000000"), "0.000105"),
    ],
)
def test_quote_takes_the_size_of_a_run_by_name_and_bytes_by_number(
    stack: Stack, tmp_path: Path, home: Path, words: tuple[str, ...], price: str
) -> None:
    (tmp_path / "job.py").write_text("print(1)")
    done = galaksio("quote", *words, "--url", stack.broker, cwd=tmp_path, home=home)
    assert done.returncode == 0, done.stderr
    assert f" {price} " in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "x.py"), "not logged in"),
        (("config",), "not logged in"),
        (("login", "-k", "12"), "not a private key"),
        (("login", "-k", "11" * 32, "--max-cost", "free"), "not an amount"),
        (("login", "-k", "11" * 32, "--network", "atlantis"), "not a network"),
        (("quote", "fly"), "run, store or cache"),
        (("quote", "run", "--url", "http://127.0.0.1:9"), "galaksio up"),
        (("nonsense",), "No such command"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    tmp_path: Path, home: Path, words: tuple[str, ...], said: str
) -> None:
    done = galaksio(*words, cwd=tmp_path, home=home)
    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_ending_a_missing_file_and_binary_code_are_refused(
    logged_in: Wallet, tmp_path: Path, home: Path
) -> None:
    (tmp_path / "code.xyz").write_text("1")
    (tmp_path / "code.py").write_bytes(b"\xff\xfe\x00")
    for file, said in (("code.xyz", "-l python"), ("none.py", "No such file"), ("code.py", "not UTF-8")):
        done = galaksio("run", file, cwd=tmp_path, home=home)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr


def test_logout_forgets_the_key(logged_in: Wallet, tmp_path: Path, home: Path) -> None:
    assert galaksio("logout", cwd=tmp_path, home=home).returncode == 0
    assert not (home / "config.json").exists()
    assert "not logged in" in galaksio("logout", cwd=tmp_path, home=home).stdout


def test_without_a_command_there_is_a_shell(stack: Stack, tmp_path: Path, home: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "galaksio"],  # the installed command itself
        input=f"quote run --url {stack.broker}\nconfig\n'unbalanced\nexit\n",
        cwd=tmp_path,
        env={"GALAKSIO_HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert "can be bought" in done.stdout
    assert "not logged in" in done.stderr
    assert "cannot be read" in done.stderr
