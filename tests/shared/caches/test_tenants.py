"""Tenants on one server: every command, with keys that try to get out, reaches nobody else's."""

import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.caches.command import CommandFailed
from shared.caches.commands import MAX_ARGUMENTS, read_command
from shared.caches.limits import KEY_MAX_BYTES, VALUE_MAX_BYTES
from shared.caches.redis import RedisCaches
from tests.support.cache_commands import COMMANDS, words

OTHERS = b"<another tenant's real key>"
NAMES = [
    b"k", b"}:k", b"}:m", b"{x}", b"*", b"?", b"[a-z]", b":k:", b"m", b"..", b"\\*", "ключ".encode(), OTHERS,
    b"a b", b"KEYS[1]", b"ARGV[1]", b"5", b"1", b"GET", b"'..redis.call('FLUSHALL')..'", b"'; return KEYS --",
]  # fmt: skip
MAKE = {
    "string": "SET A 10",
    "hash": "HSET A f v",
    "list": "RPUSH A x y",
    "set": "SADD A x y",
    "zset": "ZADD A 1 x 2 y",
}


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(valkey_url)
    yield client
    await client.aclose()


@pytest.fixture
async def caches(valkey_url: str) -> AsyncIterator[RedisCaches]:
    opened = RedisCaches(valkey_url, max_bytes=64 * 1024 * 1024)
    yield opened
    await opened.close()


async def new_cache(caches: RedisCaches) -> str:
    cache_id = "rd" + secrets.token_urlsafe(16)
    await caches.create(cache_id, "us-east-1", 1_000_000, None)
    return cache_id


async def run(caches: RedisCaches, cache_id: str, *line: bytes) -> Any:
    (reply,) = await caches.run(cache_id, [read_command(line)])
    return reply


async def everything_of(redis: Redis, cache_id: str) -> dict[bytes, Any]:
    return {key: await redis.dump(key) for key in sorted(await redis.keys(f"{{{cache_id}}}:*"))}


def texts_in(reply: Any) -> list[str]:
    if isinstance(reply, list):
        return [text for item in reply for text in texts_in(item)]
    if isinstance(reply, CommandFailed):
        return [reply.text]
    return [reply.decode("latin-1")] if isinstance(reply, bytes) else []


@pytest.mark.parametrize("kind", [*MAKE, "nothing"])
async def test_no_command_with_any_key_reaches_another_tenant(
    redis: Redis, caches: RedisCaches, kind: str
) -> None:
    victim, attacker = await new_cache(caches), await new_cache(caches)
    for name, made in MAKE.items():
        await run(caches, victim, *words(made, A=b"secret-" + name.encode(), x=b"secret", v=b"secret"))
    before = await everything_of(redis, victim)
    assert len(before) == len(MAKE) + 3, "its keys, and its own books"
    others = set(await redis.keys("*"))
    full = f"{{{victim}}}:k:secret-{kind}".encode()
    for name in NAMES:
        key = full if name == OTHERS else name
        for call in COMMANDS:
            line = [{b"A": key, b"B": key + b"2", b"C": b"{c}"}.get(word, word) for word in call]
            fresh = [[b"DEL", key]] + ([words(MAKE[kind], A=key)] if kind in MAKE else [])
            replies = await caches.run(attacker, [read_command(item) for item in (*fresh, line)])
            for text in texts_in(replies[-1]):
                told = text.replace(full.decode(), "")
                assert not any(word in told for word in ("secret", attacker, victim, "user_script")), (
                    line,
                    text,
                )
    assert await everything_of(redis, victim) == before
    made_here = {key for key in await redis.keys("*") if key not in others}
    assert {key for key in made_here if not key.startswith(b"{" + attacker.encode() + b"}:")} == set()


async def test_names_come_back_without_the_prefix_and_only_ones_own(caches: RedisCaches) -> None:
    mine, theirs = await new_cache(caches), await new_cache(caches)
    await run(caches, theirs, b"MSET", b"theirs", b"1", b"a", b"1")
    for name in (b"list", b"other"):
        await run(caches, mine, b"RPUSH", name, b"x", b"y")
    await run(caches, mine, b"ZADD", b"zset", b"1", b"x")
    assert sorted(await run(caches, mine, b"KEYS", b"*")) == [b"list", b"other", b"zset"]
    assert await run(caches, mine, b"KEYS", b"*" + theirs.encode() + b"*") == []
    assert await run(caches, mine, b"KEYS", b"{*") == []
    assert await run(caches, mine, b"DBSIZE") == 3
    cursor, found = await run(caches, mine, b"SCAN", b"0", b"MATCH", b"*t*", b"TYPE", b"list")
    assert (cursor, sorted(found)) == (b"0", [b"list", b"other"])
    assert {await run(caches, mine, b"RANDOMKEY") for _ in range(80)} == {b"list", b"other", b"zset"}
    assert await run(caches, mine, *words("LMPOP 2 none list LEFT")) == [b"list", [b"x"]]
    assert await run(caches, mine, *words("ZMPOP 1 zset MIN")) == [b"zset", [[b"x", b"1"]]]
    assert await run(caches, mine, *words("LMPOP 1 none LEFT")) is None
    await run(caches, mine, b"RENAME", b"list", b"renamed")
    assert sorted(await run(caches, mine, b"KEYS", b"*")) == [b"other", b"renamed"]


async def test_errors_are_the_servers_own_and_name_no_key(caches: RedisCaches) -> None:
    cache_id = await new_cache(caches)
    await run(caches, cache_id, b"RPUSH", b"list", b"x")
    wrong = CommandFailed("WRONGTYPE Operation against a key holding the wrong kind of value")
    assert await run(caches, cache_id, b"INCR", b"list") == wrong
    assert await run(caches, cache_id, b"RENAME", b"none", b"x") == CommandFailed("ERR no such key")
    assert await run(caches, cache_id, *words("SET k v EX nonsense")) == CommandFailed(
        "ERR value is not an integer or out of range"
    )


async def test_what_is_at_the_limits_is_done(caches: RedisCaches) -> None:
    cache_id = await new_cache(caches)
    most = str(VALUE_MAX_BYTES - 1).encode()
    assert await run(caches, cache_id, b"SETRANGE", b"a", most, b"x") == VALUE_MAX_BYTES
    assert await run(caches, cache_id, b"SETBIT", b"b", str(VALUE_MAX_BYTES * 8 - 1).encode(), b"1") == 0
    assert await run(caches, cache_id, b"BITFIELD", b"c", b"SET", b"u8", b"#100", b"7") == [0]
    assert await run(caches, cache_id, b"SET", b"x" * KEY_MAX_BYTES, b"y" * VALUE_MAX_BYTES) == b"OK"
    pushed = await run(caches, cache_id, b"RPUSH", b"l", *[b"%d" % n for n in range(MAX_ARGUMENTS - 2)])
    assert pushed == MAX_ARGUMENTS - 2
    await run(caches, cache_id, b"SADD", b"s", b"x")
    assert await run(caches, cache_id, b"SRANDMEMBER", b"s", b"-100") == [b"x"] * 100
    assert await run(caches, cache_id, *words("EXISTS s s s s")) == 4


async def test_a_request_that_asks_for_too_much_is_answered_in_part_and_counted_in_part(
    caches: RedisCaches,
) -> None:
    cache_id = await new_cache(caches)
    await run(caches, cache_id, b"SET", b"big", b"x" * VALUE_MAX_BYTES)
    before = (await caches.info(cache_id)).operations_left
    get = read_command([b"GET", b"big"])
    replies = await caches.run(cache_id, [*[get] * 999, read_command(words("SET late 1"))])
    given = [reply for reply in replies if isinstance(reply, bytes)]
    assert [len(reply) for reply in given] == [VALUE_MAX_BYTES] * 16
    assert isinstance(replies[-1], CommandFailed)
    assert replies[-1].text.startswith("ERR not run")
    assert await run(caches, cache_id, b"EXISTS", b"late") == 0
    assert (await caches.info(cache_id)).operations_left == before - 16 - 1


async def test_a_request_that_takes_too_long_makes_nobody_wait_for_all_of_it(caches: RedisCaches) -> None:
    cache_id = await new_cache(caches)
    for start in range(0, 120_000, 6_000):
        await run(
            caches, cache_id, b"SADD", b"s", *[b"m%d" % number for number in range(start, start + 6_000)]
        )
    union = read_command(words("SUNIONSTORE t s s s"))
    started = time.monotonic()
    replies = await caches.run(cache_id, [union] * 1000)
    assert time.monotonic() - started < 20
    assert replies[0] == 120_000
    assert isinstance(replies[-1], CommandFailed)
