"""What only Redis does: commands, wrong types, sweeping, and books that stay in line with what there is."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.caches.command import Command, CommandFailed, Reply
from shared.caches.effects import effect_of
from shared.caches.errors import CacheFull, CacheUnavailable, NoSuchCache, OperationsUsedUp, WrongType
from shared.caches.redis import RedisCaches
from shared.caches.redis_wire import job_key
from shared.errors import StartupError
from tests.shared.caches.conftest import MAX_BYTES, new_id
from tests.support.ports import free_port

Run = Callable[..., Awaitable[list[Reply]]]


@pytest.fixture
async def server(valkey_url: str) -> AsyncIterator[Any]:
    """The server itself, for a look behind the curtain."""
    async with Redis.from_url(valkey_url) as opened:
        yield opened


@pytest.fixture
async def cache_id(redis: RedisCaches) -> str:
    return (await redis.create(new_id(), "us-east-1", 10_000, None)).cache_id


@pytest.fixture
def run(redis: RedisCaches, cache_id: str) -> Run:
    """Run lines such as `SET *key value`; a star marks a key."""

    async def go(*lines: str) -> list[Reply]:
        return await redis.run(cache_id, [command(line) for line in lines])

    return go


def command(line: str) -> Command:
    name, *words = line.split(" ")
    keys = tuple(position for position, word in enumerate(words) if word.startswith("*") and len(word) > 1)
    args = tuple(word[1:] if at in keys else word for at, word in enumerate(words))
    return Command(name, tuple(arg.encode() for arg in args), keys)


async def test_commands_run_in_order_on_the_caches_own_keys(run: Run) -> None:
    assert await run(
        "SET *a 1 EX 60",
        "INCR *a",
        "GET *a",
        "GET *none",
        "HSET *h f v",
        "HGETALL *h",
        "RENAME *a *b",
        "MGET *a *b",
        "RPUSH *l x y",
        "LMPOP 1 *l LEFT",
        "ZADD *z 1.5 m",
        "ZSCORE *z m",
        "PING",
        "ECHO hello",
    ) == [
        b"OK",
        2,
        b"2",
        None,
        1,
        [b"f", b"v"],
        b"OK",
        [None, b"2"],
        2,
        [b"l", [b"x"]],
        1,
        b"1.5",
        b"PONG",
        b"hello",
    ]


async def test_a_command_that_fails_says_why_and_the_others_run(run: Run) -> None:
    assert await run("LPUSH *l x", "GET *l", "INCRBY *n x", "RENAME *none *to", "EXPIRE *l x", "LLEN *l") == [
        1,
        CommandFailed("WRONGTYPE Operation against a key holding the wrong kind of value"),
        CommandFailed("ERR value is not an integer or out of range"),
        CommandFailed("ERR no such key"),
        CommandFailed("ERR value is not an integer or out of range"),
        1,
    ]


async def test_looking_at_all_keys_shows_those_of_the_cache_without_their_prefix(
    redis: RedisCaches, run: Run
) -> None:
    other = (await redis.create(new_id(), "us-east-1", 100, None)).cache_id
    await redis.set(other, "theirs", 1)
    assert await run("DBSIZE", "RANDOMKEY", "KEYS *", "SCAN 0") == [0, None, [], [b"0", []]]
    await run("SET *user:1 x", "SET *user:2 x", "HSET *hash f v")
    replies = await run(
        "DBSIZE", "KEYS *", "KEYS user:?", "KEYS *:k:*", "SCAN 0 TYPE hash", "SCAN 0 MATCH u*"
    )
    assert replies[0] == 3
    assert sorted(replies[1]) == [b"hash", b"user:1", b"user:2"]  # type: ignore[arg-type, type-var]
    assert sorted(replies[2]) == [b"user:1", b"user:2"]  # type: ignore[arg-type, type-var]
    assert replies[3] == []
    assert replies[4] == [b"0", [b"hash"]]
    assert (await run("RANDOMKEY"))[0] in (b"user:1", b"user:2", b"hash")
    assert await run("SCAN x", "SCAN 0 COUNT x", "SCAN 0 OTHER x", "SCAN 0 MATCH") == [
        CommandFailed("ERR invalid cursor"),
        CommandFailed("ERR value is not an integer or out of range"),
        CommandFailed("ERR syntax error"),
        CommandFailed("ERR syntax error"),
    ]


async def test_scanning_finds_every_key_of_many(redis: RedisCaches, cache_id: str, run: Run) -> None:
    wanted = {f"key{number}".encode() for number in range(700)}
    for chunk in range(7):
        await run(*(f"SET *key{chunk * 100 + number} x" for number in range(100)))
    found: set[bytes] = set()
    cursor = "0"
    while True:
        ((place, names),) = await run(f"SCAN {cursor} COUNT 50")  # type: ignore[misc]
        found |= set(names)  # type: ignore[arg-type]
        cursor = place.decode()  # type: ignore[union-attr]
        if cursor == "0":
            break
    assert found == wanted
    assert (await run("DBSIZE")) == [700]


async def test_a_pipeline_counts_each_command_and_runs_none_when_it_is_too_long(redis: RedisCaches) -> None:
    cache_id = (await redis.create(new_id(), "us-east-1", 5, None)).cache_id
    await redis.run(cache_id, [command("SET *a 1"), command("GET *a"), command("HGET *a f")])
    assert (await redis.info(cache_id)).operations_left == 2
    with pytest.raises(OperationsUsedUp):
        await redis.run(cache_id, [command("SET *a 2")] * 3)
    assert (await redis.info(cache_id)).operations_left == 2
    assert await redis.run(cache_id, [command("GET *a")]) == [b"1"]
    with pytest.raises(NoSuchCache):
        await redis.run(new_id(), [command("GET *a")])
    with pytest.raises(NoSuchCache):
        await redis.run("a}{b", [command("GET *a")])


async def test_pipelines_of_many_clients_are_not_mixed(redis: RedisCaches, cache_id: str) -> None:
    pipeline = [command("INCR *n"), command("INCR *n"), command("INCR *n")]
    replies = await asyncio.gather(*(redis.run(cache_id, pipeline) for _ in range(50)))
    for first, second, third in replies:
        assert (second, third) == (first + 1, first + 2)  # type: ignore[operator]
    assert (await redis.info(cache_id)).operations_left == 10_000 - 150


async def test_what_clients_of_upstash_write_is_read_here_and_the_other_way_round(
    redis: RedisCaches, cache_id: str, run: Run
) -> None:
    await run("SET *text hello", 'SET *json {"a":1}', "SET *number 42", "SET *deep " + "[" * 300_000)
    await run(
        "SET *huge [1e999]", 'SET *half "\\ud800"', "SET *nan NaN", "APPEND *bits x", "SETBIT *bits 0 1"
    )
    read = {}
    for key in ("text", "json", "number", "deep", "huge", "half", "nan", "bits"):
        entry = await redis.get(cache_id, key)
        assert entry is not None
        read[key] = entry.value
    assert read == {
        "text": "hello",
        "json": {"a": 1},
        "number": 42,
        "deep": "[" * 300_000,
        "huge": "[1e999]",
        "half": '"\\ud800"',
        "nan": "NaN",
        "bits": "\ufffd",
    }
    written: list[tuple[Any, bytes]] = [
        ("hello", b"hello"),
        ("42", b'"42"'),
        ({"a": 1}, b'{"a":1}'),
        (42, b"42"),
    ]
    for value, kept in written:
        await redis.set(cache_id, "key", value)
        assert await run("GET *key") == [kept]


async def test_a_key_of_another_type_is_a_400_and_counts(redis: RedisCaches, cache_id: str, run: Run) -> None:
    await run("HSET *h f v")
    with pytest.raises(WrongType) as refused:
        await redis.get(cache_id, "h")
    assert (refused.value.status, refused.value.code) == (400, "wrong_type")
    assert cache_id not in refused.value.message
    assert (await redis.info(cache_id)).operations_left == 10_000 - 2
    assert await redis.ttl(cache_id, "h") is None
    await redis.set(cache_id, "h", "now a value")
    assert await run("TYPE *h") == [b"string"]


async def test_the_script_is_sent_again_to_a_server_that_forgot_it(
    redis: RedisCaches, cache_id: str, server: Any
) -> None:
    await redis.set(cache_id, "key", 1)
    await server.script_flush()
    await redis.set(cache_id, "key", 2)
    entry = await redis.get(cache_id, "key")
    assert entry is not None and entry.value == 2


async def test_sweeping_removes_all_that_is_left_of_caches_whose_time_is_over(
    redis: RedisCaches, cache_id: str, server: Any
) -> None:
    made = await redis.create(new_id(), "us-east-1", 10_000, 3)
    dying = made.cache_id
    await redis.run(dying, [command("MSET " + " ".join(f"*key{number} x" for number in range(1200)))])
    await redis.set(cache_id, "key", 1)
    await redis.add_operations(dying, 1, "payment")
    await asyncio.sleep((made.expires_at or 0) - time.time() + 0.05)
    assert await redis.sweep() >= 1
    assert [key async for key in server.scan_iter(f"*{dying}*")] == []
    assert await redis.get(cache_id, "key") is not None


async def test_sweeping_spares_a_cache_that_lives_and_comes_back_when_it_ends(
    redis: RedisCaches, cache_id: str, server: Any
) -> None:
    ending = await redis.create(new_id(), "us-east-1", 10_000, 3600)
    for living in (cache_id, ending.cache_id):
        await redis.set(living, "key", 1)
        await server.zadd("galaksio:caches:ends", {living: 1})
    await redis.sweep()
    for living in (cache_id, ending.cache_id):
        assert await redis.get(living, "key") is not None
    assert await server.zscore("galaksio:caches:ends", cache_id) is None
    due_ms = await server.zscore("galaksio:caches:ends", ending.cache_id)
    assert due_ms / 1000 == pytest.approx(ending.expires_at, abs=20)


async def test_deleting_leaves_nothing_on_the_server(redis: RedisCaches, run: Run, server: Any) -> None:
    dying = (await redis.create(new_id(), "us-east-1", 10_000, 3600)).cache_id
    for number in range(1200):
        await redis.set(dying, f"key{number}", number, 60)
    await redis.delete(dying)
    assert [key async for key in server.scan_iter(f"*{dying}*")] == []
    assert await server.zscore("galaksio:caches:ends", dying) is None


async def test_no_key_of_a_cache_is_outside_of_its_hash_tag(
    redis: RedisCaches, cache_id: str, run: Run, server: Any
) -> None:
    before = {key async for key in server.scan_iter("*")}
    await redis.set(cache_id, "{other}:x", 1, 60)
    await redis.add_operations(cache_id, 1, "p")
    await run("HSET *}{ f v", "SADD *a*b x", "SET *{} x")
    # What a job worked on is looked up by the job alone.
    made = {key async for key in server.scan_iter("*")} - before - {job_key("p").encode()}
    assert len(made) >= 7
    assert {key.startswith(f"{{{cache_id}}}:".encode()) for key in made} == {True}


async def test_the_books_agree_with_the_keys_after_any_commands(
    redis: RedisCaches, cache_id: str, run: Run, server: Any
) -> None:
    rnd = random.Random(5)
    lines = [
        "SET *{a} value",
        "SET *{a} longer-value-than-before PX 20",
        "APPEND *{a} more",
        "DEL *{a} *{b}",
        "HSET *{a} f v",
        "HDEL *{a} f",
        "RPUSH *{a} x y z",
        "LPOP *{a} 3",
        "RENAME *{a} *{b}",
        "COPY *{a} *{b}",
        "SADD *{a} 1 2 3",
        "SMOVE *{a} *{b} 1",
        "PEXPIRE *{a} 20",
        "PERSIST *{a}",
        "GETDEL *{a}",
        "GETEX *{a} PX 20",
        "SETRANGE *{a} 100 x",
        "ZADD *{a} 1 m",
        "ZPOPMIN *{a}",
        "MSET *{a} 1 *{b} 2",
    ]
    for _ in range(60):
        names = [f"key{number}" for number in rnd.sample(range(6), 2)]
        await run(*(line.format(a=names[0], b=names[1]) for line in rnd.sample(lines, 5)))
    await asyncio.sleep(0.05)
    await redis.list_keys(cache_id)
    prefix = f"{{{cache_id}}}:k:".encode()
    keys = {key.removeprefix(prefix) async for key in server.scan_iter(prefix.decode() + "*")}
    assert set(await server.zrange(f"{{{cache_id}}}:i", 0, -1)) == keys
    sizes = {name: int(size) for name, size in (await server.hgetall(f"{{{cache_id}}}:s")).items()}
    assert sizes.keys() == keys
    assert {name: await server.memory_usage(prefix + name) for name in keys} == sizes
    assert (await redis.info(cache_id)).used_bytes == sum(sizes.values())
    assert {n for n in keys if await server.pttl(prefix + n) > 0} == set(
        await server.zrange(f"{{{cache_id}}}:e", 0, -1)
    )


async def test_commands_cannot_fill_a_cache_over_its_limit_but_can_empty_it(
    redis: RedisCaches, cache_id: str, run: Run
) -> None:
    part = "x" * 1_000_000
    replies = await run(*(f"RPUSH *list {part}" for _ in range(6)))
    assert replies[0] == 1
    assert replies[-1] == CommandFailed("ERR the cache is full")
    assert (await redis.info(cache_id)).used_bytes < MAX_BYTES * 1.3
    with pytest.raises(CacheFull):
        await redis.set(cache_id, "key", part)
    assert await run("GET *none", "DEL *list", "RPUSH *list x") == [None, 1, 1]


async def test_the_server_itself_says_the_same_of_what_commands_do(server: Any) -> None:
    wrong = []
    for name, told in (await server.command()).items():
        flags = {flag if isinstance(flag, str) else flag.decode() for flag in told["flags"]}
        effect = effect_of(name.upper())
        if effect == "r" and "write" in flags:
            wrong.append(name)
        if effect == "c" and ("denyoom" in flags or "write" not in flags):
            wrong.append(name)
    assert wrong == []


async def test_a_server_that_is_not_there_is_a_503_and_comes_to_no_harm() -> None:
    caches = RedisCaches(f"redis://127.0.0.1:{free_port()}/0", MAX_BYTES)
    for call in (
        caches.ping(),
        caches.get("rdx", "key"),
        caches.create("rdx", "r", 1, 1, "job"),
        caches.sweep(),
    ):
        with pytest.raises(CacheUnavailable) as refused:
            await call
        assert (refused.value.status, refused.value.code) == (503, "cache_unavailable")
        assert "Retry-After" in refused.value.headers
    await caches.close()


def test_an_address_that_is_none_is_told_at_the_start() -> None:
    with pytest.raises(StartupError, match="REDIS_URL"):
        RedisCaches("http://127.0.0.1", MAX_BYTES)
