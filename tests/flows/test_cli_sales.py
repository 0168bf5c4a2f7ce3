"""`galaksio store`, `get` and `cache` as a person uses them, against the real stack with a real Valkey."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from upstash_redis import Redis

from tests.flows.test_startup import BIN, galaksio
from tests.support.relay import relaying
from tests.support.services import Stack, clean_environment, running_stack
from tests.support.wallets import Wallet

HELLO_CID = "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am"
"""Of `hello` and a line's end, by `ipfs add --cid-version=1`."""
MB = 1024 * 1024

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack"), REDIS_URL=valkey_url) as running:
        yield running


@pytest.fixture
def cli(stack: Stack, wallet: Wallet, tmp_path: Path) -> Cli:
    """The command, logged in with a funded wallet, in a folder of its own."""

    def run(*words: str, text: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return galaksio(*words, cwd=tmp_path, home=tmp_path / "home", text=text, **more)

    assert run("login", "-k", wallet.key, "--url", stack.broker).returncode == 0
    return run


def fields(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The lines of stdout, `name  value`."""
    assert done.returncode == 0, done.stderr
    return {
        name: value.strip() for name, _, value in (line.partition(" ") for line in done.stdout.splitlines())
    }


def test_a_file_is_priced_paid_and_served_under_its_cid(
    stack: Stack, wallet: Wallet, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "hello.txt").write_text("hello\n")
    before = stack.balance(wallet.address)
    done = cli("store", "hello.txt", "--ttl", "7200")
    stored = fields(done)
    assert (stored["cid"], stored["size"]) == (HELLO_CID, "6 bytes")
    lasts = datetime.fromisoformat(stored["expires"]) - datetime.now(UTC)
    assert timedelta(hours=1.9) < lasts < timedelta(hours=2.1)
    assert "Price: $0.005101 in USDC on base-sepolia" in done.stderr
    assert "transaction 0x" in done.stderr
    assert before - stack.balance(wallet.address) == 5101
    answer = httpx.get(stored["url"], trust_env=False, verify=False, timeout=60)
    assert (answer.content, answer.headers["content-type"]) == (b"hello\n", "text/plain")
    fetched = cli("get", HELLO_CID)
    assert (fetched.returncode, fetched.stdout) == (0, "hello\n")


def test_standard_input_is_stored_for_good_and_told_as_json(stack: Stack, wallet: Wallet, cli: Cli) -> None:
    done = cli("store", "-", "--permanent", "--name", "data.json", "--json", text='{"a": 1}')
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["size"], told["permanent"], told["expiresAt"]) == (8, True, None)
    assert (told["filename"], told["contentType"]) == ("data.json", "application/json")
    assert told["receipt"]["payer"].lower() == wallet.address.lower()
    assert httpx.get(told["url"], trust_env=False, verify=False, timeout=60).json() == {"a": 1}


def test_what_comes_through_a_pipe_is_stored_as_a_file_is(cli: Cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"hello\n",))
    writer.start()
    stored = fields(cli("store", "pipe", "--name", "hello.txt"))
    writer.join()
    assert stored["cid"] == HELLO_CID


@pytest.mark.timeout(300)
def test_90_mb_cross_the_wire_once_and_are_never_in_memory(
    stack: Stack, wallet: Wallet, cli: Cli, tmp_path: Path
) -> None:
    big = tmp_path / "big.bin"
    with big.open("wb") as file:
        for _ in range(90):
            file.write(os.urandom(MB))
    (tmp_path / "small.bin").write_bytes(os.urandom(100))
    with relaying(stack.broker) as relay:
        assert cli("login", "-k", wallet.key, "--url", relay.url).returncode == 0
        small_rss_bytes, _ = measured("store", "small.bin", folder=tmp_path)
        big_rss_bytes, cid = measured("store", "big.bin", folder=tmp_path)
    *small, upload = sorted(relay.sent_bytes)
    assert len(small) == 3, "the question and the upload of small.bin, the question of big.bin"
    assert max(small) < 4096
    assert 90 * MB < upload < 90 * MB + 4096
    assert big_rss_bytes - small_rss_bytes < 30 * MB
    got = cli("get", cid, "-o", "back.bin", "--verify", "--url", stack.broker)
    assert "They are what the CID says" in got.stderr
    assert (tmp_path / "back.bin").read_bytes() == big.read_bytes()


def measured(*words: str, folder: Path) -> tuple[int, str]:
    """Run the command by itself: the most memory it had, and the CID that it printed."""
    with (folder / "out").open("w+") as output:
        environment = clean_environment(GALAKSIO_HOME=str(folder / "home"))
        command = [BIN / "galaksio", *words, "--json"]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        output.seek(0)
        return usage.ru_maxrss * 1024, json.load(output)["cid"]


def test_what_is_too_large_or_too_dear_or_no_file_is_one_sentence_and_not_paid(
    stack: Stack, wallet: Wallet, cli: Cli, tmp_path: Path
) -> None:
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate(101 * MB)
    (tmp_path / "hello.txt").write_text("hello\n")
    for words, said in (
        (("huge.bin",), "the body is over 100 MB"),
        (("hello.txt", "--max-usd", "0.005"), "The price $0.005101 is over your cap of $0.005"),
        (("hello.txt", "--max-usd", "much"), "not an amount"),
        (("none.txt",), "none.txt cannot be read: No such file or directory"),
        (("home",), "home is a folder"),
        (("hello.txt", "--permanent", "--ttl", "60"), "leave one of the two out"),
        ((), "Say what to store"),
        (("--url", "http://127.0.0.1/"), "The broker answered 400"),
        (("hello.txt", "--type", "nonsense"), "content type"),
    ):
        done = cli("store", *words)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert said in done.stderr, words
        assert done.stderr.count("\n") == 1, done.stderr
    assert stack.balance(wallet.address) == 100_000_000


def test_without_a_wallet_nothing_can_be_bought(tmp_path: Path) -> None:
    (tmp_path / "hello.txt").write_text("hello\n")
    for words in (("store", "hello.txt"), ("cache",), ("cache", "topup", "some-cache")):
        done = galaksio(*words, cwd=tmp_path, home=tmp_path / "home")
        assert (done.returncode, "You are not logged in" in done.stderr) == (1, True), done.stderr


def test_a_cache_is_bought_used_and_topped_up(stack: Stack, wallet: Wallet, cli: Cli, tmp_path: Path) -> None:
    before = stack.balance(wallet.address)
    done = cli("cache", "-r", "eu-west-1", "--ttl", "3600")
    bought = fields(done)
    cache_id = bought["id"]
    assert bought["operations"] == "50000"
    assert before - stack.balance(wallet.address) == 15_000
    kept = tmp_path / "home" / "caches" / f"{cache_id}.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert json.loads(kept.read_text())["token"] == bought["token"]

    assert cli("cache", "set", cache_id, "../a:key:b", "text", "--ttl", "60").returncode == 0
    assert cli("cache", "set", cache_id, "list", '[1, {"b": null}]', "--json").returncode == 0
    assert cli("cache", "get", cache_id, "../a:key:b").stdout == "text\n"
    assert cli("cache", "get", cache_id, "list").stdout == '[1, {"b": null}]\n'
    assert sorted(cli("cache", "list", cache_id).stdout.splitlines()) == ["../a:key:b", "list"]
    assert cli("cache", "delete", cache_id, "list").returncode == 0
    assert cli("cache", "list", cache_id, "--prefix", "l").stdout == ""
    missing = cli("cache", "get", cache_id, "list")
    assert (missing.returncode, "404" in missing.stderr) == (1, True), missing.stderr

    with Redis(url=bought["endpoint"], token=bought["token"]) as redis:
        assert redis.incrby("visits", 3) == 3
    assert cli("cache", "get", cache_id, "visits").stdout == "3\n"
    more = cli("cache", "topup", cache_id)
    left = int(more.stdout.split()[0])
    assert 99_980 < left < 100_000
    assert before - stack.balance(wallet.address) == 30_000


def test_a_cache_from_elsewhere_needs_its_token(cli: Cli, tmp_path: Path) -> None:
    told = json.loads(cli("cache", "--json").stdout)
    (tmp_path / "home" / "caches" / f"{told['cacheId']}.json").unlink()
    words = ("cache", "set", told["cacheId"], "key", "value")
    assert "give it with --token" in cli(*words).stderr
    assert "401" in cli(*words, "--token", "gx_wrong").stderr
    assert cli(*words, GALAKSIO_CACHE_TOKEN=told["token"]).returncode == 0
    assert cli("cache", "get", told["cacheId"], "key", "--token", told["token"]).stdout == "value\n"
    assert "is not the id of a cache" in cli("cache", "get", "../../config", "key").stderr
