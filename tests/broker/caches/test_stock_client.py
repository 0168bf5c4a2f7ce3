"""`upstash-redis` from PyPI works on a cache of ours without knowing it, over HTTP, synchronous and not."""

from collections.abc import Iterator
from typing import Any

import pytest
import upstash_redis
import upstash_redis.asyncio
from upstash_redis.errors import UpstashError

from tests.support.caches import Bought, bought_cache


@pytest.fixture(scope="module", params=["cache", "redis"])
def bought(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey_url: str
) -> Iterator[Bought]:
    """The same cache at both of its addresses."""
    with (
        pytest.MonkeyPatch.context() as patch,
        bought_cache(tmp_path_factory.mktemp("broker"), valkey_url) as bought,
    ):
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("no_proxy", "127.0.0.1")
        yield Bought(bought.endpoint.replace("/cache/", f"/{request.param}/"), bought.token)


@pytest.fixture
def redis(bought: Bought) -> Iterator[upstash_redis.Redis]:
    with upstash_redis.Redis(url=bought.endpoint, token=bought.token, rest_retries=0) as client:
        yield client


# Run in this order on an empty cache: method, arguments, what the client returns.
CALLS: list[tuple[str, tuple[Any, ...], Any]] = [
    ("ping", (), "PONG"),
    ("echo", ("héllo ☃",), "héllo ☃"),
    ("set", ("s", "OK"), True),
    ("get", ("s",), "OK"),
    ("append", ("s", "!"), 3),
    ("strlen", ("s",), 3),
    ("getrange", ("s", 0, 1), "OK"),
    ("getdel", ("s",), "OK!"),
    ("get", ("s",), None),
    ("mset", ({"a": "1", "b": {"json": [1]}},), True),
    ("mget", ("a", "b", "none"), ["1", '{"json": [1]}', None]),
    ("incr", ("a",), 2),
    ("incrby", ("a", 10), 12),
    ("decr", ("a",), 11),
    ("incrbyfloat", ("a", 0.5), 11.5),
    ("setnx", ("a", "x"), False),
    ("exists", ("a", "b", "none"), 2),
    ("expire", ("a", 100), True),
    ("ttl", ("a",), pytest.approx(90, abs=10)),  # the seconds go by
    ("persist", ("a",), True),
    ("type", ("a",), "string"),
    ("rename", ("a", "c"), True),
    ("copy", ("c", "d"), True),
    ("delete", ("b", "c", "d"), 3),
    ("hset", ("h", None, None, {"f": "1", "g": "2"}), 2),
    ("hget", ("h", "f"), "1"),
    ("hgetall", ("h",), {"f": "1", "g": "2"}),
    ("hincrby", ("h", "f", 4), 5),
    ("hdel", ("h", "g"), 1),
    ("hkeys", ("h",), ["f"]),
    ("rpush", ("l", "a", "b", "c"), 3),
    ("lpop", ("l",), "a"),
    ("lrange", ("l", 0, -1), ["b", "c"]),
    ("llen", ("l",), 2),
    ("sadd", ("t", "x", "y"), 2),
    ("sismember", ("t", "x"), True),
    ("scard", ("t",), 2),
    ("srem", ("t", "x"), 1),
    ("smembers", ("t",), ["y"]),
    ("zadd", ("z", {"one": 1, "two": 2}), 2),
    ("zrange", ("z", 0, -1, None, None, None, None, True), [("one", 1.0), ("two", 2.0)]),
    ("zscore", ("z", "two"), 2.0),
    ("zrank", ("z", "two"), 1),
    ("zincrby", ("z", 5, "one"), 6.0),
    ("zpopmax", ("z",), [("one", 6.0)]),
    ("setbit", ("bits", 7, 1), 0),
    ("bitcount", ("bits",), 1),
    ("pfadd", ("p", "x", "y"), True),
    ("pfcount", ("p",), 2),
    ("geoadd", ("g", (13.36, 38.11, "Palermo")), 1),
    ("keys", ("*l*",), ["l"]),
    ("dbsize", (), 7),
    ("scan", (0, "z*"), (0, ["z"])),
    ("delete", ("h", "l", "t", "z", "bits", "p", "g"), 7),
    ("randomkey", (), None),
]


def test_fifty_calls_of_the_stock_client_return_what_redis_would(redis: upstash_redis.Redis) -> None:
    assert len({name for name, _, _ in CALLS}) >= 40
    for name, arguments, expected in CALLS:
        assert getattr(redis, name)(*arguments) == expected, (name, arguments)


def test_its_pipeline_and_its_transaction_work(redis: upstash_redis.Redis) -> None:
    for batch in (redis.pipeline(), redis.multi()):
        batch.set("n", 1).incr("n").hset("hash", "f", "v").hgetall("hash").get("none").delete("n", "hash")
        assert batch.exec() == [True, 2, 1, {"f": "v"}, None, 2]


def test_its_errors_are_those_of_redis(redis: upstash_redis.Redis, bought: Bought) -> None:
    redis.rpush("list", "x")
    with pytest.raises(UpstashError, match="WRONGTYPE"):
        redis.incr("list")
    with pytest.raises(UpstashError, match="'FLUSHALL' is not available here"):
        redis.flushall()
    redis.delete("list")
    with (
        upstash_redis.Redis(url=bought.endpoint, token="gx_wrong", rest_retries=0) as stranger,
        pytest.raises(UpstashError, match="token"),
    ):
        stranger.get("k")


def test_with_its_encoding_off_it_reads_the_same(bought: Bought) -> None:
    client = upstash_redis.Redis(url=bought.endpoint, token=bought.token, rest_encoding=None)
    with client as plain:
        plain.set("plain", "☃")
        assert plain.get("plain") == "☃"
        plain.delete("plain")


async def test_the_asynchronous_client_works_too(bought: Bought) -> None:
    async with upstash_redis.asyncio.Redis(url=bought.endpoint, token=bought.token) as client:
        assert await client.set("async", "1", ex=60) is True
        pipeline = client.pipeline()
        pipeline.get("async")
        pipeline.delete("async")
        assert await pipeline.exec() == ["1", 1]
