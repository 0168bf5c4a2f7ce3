"""`/health/ready` of all three services: every dependency by name, quickly, and what is not configured."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.services import Stack, running_stack

OF_EXECUTOR = {
    *("compute/local", "compute/merit-systems", "storage/local", "storage/pinata", "storage/openx402"),
    *("storage/galaksio_storage", "storage/arweave", "cache/redis", "cache/memcached", "cache/xcache"),
    *("results", "wallet", "chain"),
}
OF_BROKER = {
    *("database", "quote", "executor", "providers", "caches"),
    *("facilitator", "chain", "clock"),
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("ready")) as running:
        yield running


def ready(url: str) -> tuple[int, dict[str, Any]]:
    began_s = time.monotonic()
    answer = httpx.get(url + "/health/ready", trust_env=False, timeout=60)
    assert time.monotonic() - began_s < 20  # a check may take 3 s, and they are asked at once
    return answer.status_code, answer.json()


def ready_as(url: str, wanted: str) -> tuple[int, dict[str, Any]]:
    """The same, once its status is `wanted`: a check may take longer once than it is waited for."""
    deadline = time.monotonic() + 20
    while (found := ready(url))[1]["status"] != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def test_a_whole_stack_is_ready_and_names_what_is_not_configured(stack: Stack) -> None:
    status, broker = ready_as(stack.broker, "healthy")
    assert (status, broker["status"]) == (200, "healthy")
    assert broker["dependencies"].keys() == OF_BROKER
    assert disabled(broker) == {"caches"}
    status, executor = ready(stack.url("executor"))
    assert status == 200
    assert executor["dependencies"].keys() == OF_EXECUTOR
    assert disabled(executor) >= {"wallet", "chain", "cache/redis", "storage/pinata"}
    status, quote = ready_as(stack.url("quote"), "healthy")
    assert (status, quote["status"]) == (200, "healthy")
    assert quote["dependencies"]["executor"] == {"status": "healthy"}
    assert disabled(quote) == {"redis", "providers"}


def disabled(told: dict[str, Any]) -> set[str]:
    return {name for name, found in told["dependencies"].items() if found["status"] == "disabled"}


def test_a_redis_that_is_away_is_named_and_quotes_go_on_without_it(stack: Stack) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    quote = stack.launch("quote", "without-redis", REDIS_URL=away).wait_ready()
    status, told = ready_as(quote.url, "degraded")
    assert (status, told["status"]) == (200, "degraded")
    assert told["dependencies"]["redis"]["status"] == "unhealthy"
    assert "REDIS_URL" in told["dependencies"]["redis"]["reason"]
    quote.stop()


def test_an_empty_wallet_and_a_node_that_does_not_answer_are_named(stack: Stack) -> None:
    key = "0x" + "5e" * 32
    empty = stack.launch("executor", "empty", EXECUTOR_PRIVATE_KEY=key, GALAKSIO_HOME=str(stack.home / "e"))
    gone = stack.launch(
        "executor",
        "gone",
        EXECUTOR_PRIVATE_KEY=key,
        GALAKSIO_HOME=str(stack.home / "g"),
        CHAIN_RPC_URL=f"http://127.0.0.1:{free_port()}",
    )
    for process, dependency, word in ((empty, "wallet", "empty"), (gone, "chain", "CHAIN_RPC_URL")):
        process.wait_ready()
        # Who had no answer at the first look looks again after half a minute.
        deadline = time.monotonic() + 50
        while (told := ready(process.url)[1])["dependencies"][dependency]["status"] != "unhealthy":
            assert time.monotonic() < deadline, told
            time.sleep(0.2)
        assert told["status"] == "degraded"
        assert word in told["dependencies"][dependency]["reason"]
        process.stop()
    assert ready(stack.broker)[0] == 200


def test_without_an_executor_the_broker_is_not_ready_and_quote_says_why(stack: Stack) -> None:
    stack.processes["executor"].kill()
    deadline = time.monotonic() + 20
    while (found := ready(stack.url("quote"))[1])["dependencies"]["executor"]["status"] == "healthy":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert found["status"] == "degraded"
    status, told = ready(stack.broker)
    assert status == 503
    for name in ("executor", "providers"):
        assert told["dependencies"][name]["status"] == "unhealthy"
