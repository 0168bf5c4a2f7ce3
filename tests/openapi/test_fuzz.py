"""Schemathesis over the three real services: no 5xx, and no answer that their documents do not declare.

`make test` asks a little of every route, always the same; `make fuzz` (FUZZ_EXAMPLES=200) asks much more, the
limits of every field among it. The cases of one service are one run of its command line, whose whole report
is shown when something is found.

The broker stands behind a door that pays for what schemathesis asks: what is answered to payments is held to
the document like everything else, and afterwards the books have to agree.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.openapi.books import check_books
from tests.openapi.door import TURNS, Door, paying_door
from tests.support.services import HOST_WALLET, Stack, clean_environment, running_stack
from tests.support.wallets import Wallet, funded_wallet

CONFIG = Path(__file__).with_name("schemathesis.toml")
ROOT = Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "5"))
THOROUGH = "FUZZ_EXAMPLES" in os.environ
TOKEN = "test-token"
OPERATOR = "an-operator-token-of-the-tests"
# What does not depend on payments is asked at the broker that takes them.
NOT_PAID = ("quotes", "health", "service", "sign-in", "payments")

SOLD = ("/run", "/execute", "/store", "/cache", "/cache/…/topup", "/cache/…", "/redis/…", "/a2a/message")

pytestmark = pytest.mark.timeout(7200 if THOROUGH else 300)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Stack]:
    settings = {"REDIS_URL": valkey_url, "OPERATOR_TOKEN": OPERATOR}
    with running_stack(tmp_path_factory.mktemp("fuzz") / "stack", **settings) as stack:
        yield stack


def client_of(url: str, **more: Any) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=60, trust_env=False, verify=False, **more)


def bought(client: httpx.Client) -> dict[str, str]:
    """A cache and stored content, which schemathesis is told of."""
    cache = client.post("/cache", json={}).raise_for_status().json()
    stored = client.post("/store", json={"data": "Hello"}).raise_for_status().json()
    return {
        "FUZZ_CACHE": cache["result"]["cacheId"],
        "FUZZ_CACHE_TOKEN": cache["result"]["token"],
        "FUZZ_CID": stored["result"]["cid"],
        "FUZZ_JOB": stored["jobId"],
    }


def rich_wallet(devnet_url: str) -> Wallet:
    """A wallet with plenty of money for what will be asked."""
    wallet = funded_wallet(devnet_url)
    with client_of(devnet_url) as devnet:
        for _ in range(EXAMPLES // 10):
            devnet.post("/faucet", json={"address": wallet.address}).raise_for_status()
    return wallet


def fuzz(url: str, *more: str, **environment: str) -> None:
    """Ask the service at `url` what its own document says can be asked."""
    phases = "examples,coverage,fuzzing" if THOROUGH else "examples,fuzzing"
    program = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
    options = ["--phases", phases, "--max-examples", str(EXAMPLES), "--no-color", *more]
    ended = subprocess.run(
        [*program, f"{url}/openapi.json", *options],
        cwd=ROOT,
        env=clean_environment(NO_PROXY="127.0.0.1", no_proxy="127.0.0.1", **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert "No issues found" in ended.stdout, ended.stdout


def test_quote_answers_as_its_document_says(shop: Stack) -> None:
    fuzz(shop.url("quote"), "--header", f"Authorization: Bearer {TOKEN}")


def test_the_executor_answers_as_its_document_says(shop: Stack) -> None:
    fuzz(shop.url("executor"), "--header", f"Authorization: Bearer {TOKEN}")


def test_a_broker_that_is_paid_answers_as_its_document_says_and_its_books_agree(
    shop: Stack, valkey_url: str
) -> None:
    wallet = rich_wallet(shop.devnet)
    had, host_had = shop.balance(wallet.address), shop.balance(HOST_WALLET)
    with paying_door(shop.broker, wallet) as (url, door):
        with client_of(url, headers={"Authorization": f"Bearer {OPERATOR}"}) as client:
            known = bought(client)
            payment = client.get("/payments").raise_for_status().json()["payments"][0]["id"]
        fuzz(url, FUZZ_OPERATOR=OPERATOR, FUZZ_PAYMENT=payment, FUZZ_VALKEY=valkey_url, **known)
    assert_much_was_bought(door)
    check_books(shop, door, had, host_had)


def assert_much_was_bought(door: Door) -> None:
    """Otherwise nothing of all this says anything about payments."""
    done = [spent for spent in door.spent if spent.receipts]
    routes = Counter(spent.asked.route for spent in done)
    assert routes.keys() >= {*SOLD}, routes
    assert {spent.manner for spent in done} == {manner for manner in TURNS if manner is not None}
    assert door.left_unpaid > 0


@pytest.mark.skipif(not THOROUGH, reason="what is done for nothing is mostly what is done when it is paid")
def test_a_broker_that_works_for_nothing_answers_as_its_document_says(shop: Stack, tmp_path: Path) -> None:
    free = shop.launch("broker", "free", X402_ENABLED="false", GALAKSIO_HOME=str(tmp_path))
    free.wait_ready()
    with client_of(free.url) as client:
        known = bought(client)
    fuzz(free.url, *(part for tag in NOT_PAID for part in ("--exclude-tag", tag)), **known)
