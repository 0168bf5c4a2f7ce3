"""Schemathesis over the three real services: no 5xx, and no answer that their documents do not declare.

`make test` asks a little of every route, always the same; `make fuzz` (FUZZ_EXAMPLES=200) asks much more, the
limits of every field among it. The cases of one service are one run of its command line, whose whole report
is shown when something is found.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.services import clean_environment, running_stack

CONFIG = Path(__file__).with_name("schemathesis.toml")
ROOT = Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "5"))
THOROUGH = "FUZZ_EXAMPLES" in os.environ
TOKEN = "test-token"
OPERATOR = "an-operator-token-of-the-tests"
# What does not depend on payments is asked at the broker that takes them.
NOT_PAID = ("quotes", "health", "service", "sign-in", "payments")

pytestmark = pytest.mark.timeout(7200 if THOROUGH else 300)


@dataclass(frozen=True)
class Shop:
    """The addresses of a stack. `free` is a broker that does all work for nothing, so that it is done."""

    quote: str
    executor: str
    broker: str
    free: str


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("fuzz")
    settings = {"REDIS_URL": valkey_url, "OPERATOR_TOKEN": OPERATOR}
    with running_stack(home / "stack", **settings) as stack:
        free = stack.launch("broker", "free", X402_ENABLED="false", GALAKSIO_HOME=str(home / "free"))
        free.wait_ready()
        yield Shop(*map(stack.url, ("quote", "executor", "broker", "free")))


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


def test_quote_answers_as_its_document_says(shop: Shop) -> None:
    fuzz(shop.quote, "--header", f"Authorization: Bearer {TOKEN}")


def test_the_executor_answers_as_its_document_says(shop: Shop) -> None:
    fuzz(shop.executor, "--header", f"Authorization: Bearer {TOKEN}")


def test_the_broker_answers_as_its_document_says(shop: Shop) -> None:
    fuzz(shop.broker, FUZZ_OPERATOR=OPERATOR)


def test_work_that_is_really_done_is_answered_as_the_document_says(shop: Shop) -> None:
    with httpx.Client(base_url=shop.free, timeout=60, trust_env=False, verify=False) as client:
        cache = client.post("/cache", json={}).raise_for_status().json()["result"]
        stored = client.post("/store", json={"data": "Hello"}).raise_for_status().json()["result"]
    fuzz(
        shop.free,
        *(part for tag in NOT_PAID for part in ("--exclude-tag", tag)),
        FUZZ_CACHE=cache["cacheId"],
        FUZZ_CACHE_TOKEN=cache["token"],
        FUZZ_CID=stored["cid"],
    )
