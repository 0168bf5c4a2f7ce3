"""`@upstash/redis` from npm works on a cache of ours without knowing it.

`make interop` installs it and runs these tests; without it they are skipped.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.caches import Bought, bought_cache
from tests.support.services import clean_environment

pytestmark = pytest.mark.interop

NODE = Path(__file__).parent / "node"
PACKAGE = NODE / "node_modules" / "@upstash" / "redis"

# Run in this order on an empty cache: the call, and what the client returns.
CALLS: list[tuple[list[Any], Any]] = [
    (["ping"], "PONG"),
    (["echo", "héllo ☃"], "héllo ☃"),
    (["set", "s", "OK"], "OK"),
    (["get", "s"], "OK"),
    (["append", "s", "!"], 3),
    (["strlen", "s"], 3),
    (["getrange", "s", 0, 1], "OK"),
    (["getset", "s", "new"], "OK!"),
    (["getdel", "s"], "new"),
    (["get", "s"], None),
    (["set", "o", {"deep": [1, None, {"x": "☃"}]}, {"ex": 60}], "OK"),
    (["get", "o"], {"deep": [1, None, {"x": "☃"}]}),
    (["set", "o", "x", {"nx": True}], None),
    (["mset", {"a": 1, "b": {"json": True}}], "OK"),
    (["mget", "a", "b", "none"], [1, {"json": True}, None]),
    (["incr", "a"], 2),
    (["incrby", "a", 10], 12),
    (["decr", "a"], 11),
    (["decrby", "a", 1], 10),
    (["incrbyfloat", "a", 0.5], 10.5),
    (["setnx", "a", "x"], 0),
    (["exists", "a", "b", "none"], 2),
    (["expire", "a", 100], 1),
    (["ttl", "a"], pytest.approx(85, abs=15)),  # some seconds may have passed
    (["persist", "a"], 1),
    (["type", "a"], "string"),
    (["rename", "a", "c"], "OK"),
    (["copy", "c", "d"], "COPIED"),
    (["touch", "c", "d"], 2),
    (["del", "b", "c", "d"], 3),
    (["hset", "h", {"f": 1, "g": {"json": 1}}], 2),
    (["hget", "h", "g"], {"json": 1}),
    (["hgetall", "h"], {"f": 1, "g": {"json": 1}}),
    (["hincrby", "h", "f", 4], 5),
    (["hdel", "h", "g"], 1),
    (["hkeys", "h"], ["f"]),
    (["hexists", "h", "f"], 1),
    (["rpush", "l", "a", "b", "c"], 3),
    (["lpop", "l"], "a"),
    (["lrange", "l", 0, -1], ["b", "c"]),
    (["lindex", "l", 0], "b"),
    (["llen", "l"], 2),
    (["lmove", "l", "l2", "left", "right"], "b"),
    (["sadd", "t", "x", "y"], 2),
    (["sismember", "t", "x"], 1),
    (["scard", "t"], 2),
    (["srem", "t", "x"], 1),
    (["smembers", "t"], ["y"]),
    (["zadd", "z", {"score": 1, "member": "one"}, {"score": 2, "member": "two"}], 2),
    (["zrange", "z", 0, -1, {"withScores": True}], ["one", 1, "two", 2]),
    (["zscore", "z", "two"], 2),
    (["zrank", "z", "two"], 1),
    (["zincrby", "z", 5, "one"], 6),
    (["zpopmax", "z"], ["one", 6]),
    (["setbit", "bits", 7, 1], 0),
    (["bitcount", "bits"], 1),
    (["pfadd", "p", "x", "y"], 1),
    (["pfcount", "p"], 2),
    (["dbsize"], 8),
    (["keys", "l*"], ["l", "l2"]),
    (["scan", 0, {"match": "z*"}], ["0", ["z"]]),
    (["del", "o", "h", "l", "l2", "t", "z", "bits", "p"], 8),
    (["pipeline", ["set", "n", 1], ["incr", "n"], ["get", "none"], ["del", "n"]], ["OK", 2, None, 1]),
    (
        ["multi", ["set", "n", 1], ["incr", "n"], ["hset", "m", {"f": "v"}], ["del", "n", "m"]],
        ["OK", 2, 1, 2],
    ),
    (["randomkey"], None),
]


@pytest.fixture(scope="module")
def bought(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Bought]:
    if shutil.which("node") is None:
        pytest.skip("node is not on the PATH")
    if not PACKAGE.exists():
        pytest.skip("@upstash/redis is not installed: `make interop` installs it")
    with bought_cache(tmp_path_factory.mktemp("broker"), valkey_url) as bought:
        yield bought


def answers_of(bought: Bought, *calls: list[Any]) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["node", NODE / "upstash-redis.mjs", bought.endpoint, bought.token, json.dumps(calls)],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(NO_PROXY="127.0.0.1", no_proxy="127.0.0.1"),
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def test_sixty_calls_of_the_stock_client_return_what_redis_would(bought: Bought) -> None:
    assert len({call[0] for call, _ in CALLS}) >= 40
    answers = answers_of(bought, *[call for call, _ in CALLS])
    for (call, expected), answer in zip(CALLS, answers, strict=True):
        assert answer == {"result": expected}, call


def test_its_errors_are_those_of_redis(bought: Bought) -> None:
    answers = answers_of(
        bought, ["rpush", "list", "x"], ["incr", "list"], ["flushall"], ["multi", ["flushdb"]]
    )
    assert answers[0] == {"result": 1}
    assert "WRONGTYPE" in answers[1]["error"]
    assert "'FLUSHALL' is not available here" in answers[2]["error"]
    assert "EXECABORT" in answers[3]["error"]
    (refused,) = answers_of(Bought(bought.endpoint, "gx_wrong"), ["get", "k"])
    assert refused["error"].startswith("UpstashError: ")
    assert "token" in refused["error"]


def test_the_client_under_test_is_the_version_that_is_named(bought: Bought) -> None:
    wanted = json.loads((NODE / "package.json").read_text())["dependencies"]["@upstash/redis"]
    assert json.loads((PACKAGE / "package.json").read_text())["version"] == wanted
