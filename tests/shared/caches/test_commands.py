"""The allow-list of Redis commands, held against a real server: its commands, arities and keys."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from shared.caches.command_rules import CommandRefused
from shared.caches.commands import ALLOWED, MAX_ARGUMENTS, read_command
from shared.caches.limits import KEY_MAX_BYTES, VALUE_MAX_BYTES
from tests.support.cache_commands import COMMANDS, Words, words


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(valkey_url, protocol=2)
    yield client
    await client.aclose()


def test_every_command_that_is_allowed_is_tried_here() -> None:
    assert {call[0].decode() for call in COMMANDS} == set(ALLOWED)


@pytest.mark.parametrize("names", ["A B C", "GET SET WITHSCORES", "1 2 3", "LEFT MIN LIMIT", "STORE BY DB"])
async def test_keys_are_where_the_server_says_they_are(redis: Redis, names: str) -> None:
    """Whatever they are called: a key may spell an option, and a number may be a key."""
    keys = dict(zip("ABC", words(names), strict=True))
    for call in COMMANDS:
        line = [keys.get(word.decode(), word) for word in call]
        command = read_command(line)
        ours = [command.args[position].decode() for position in command.key_positions]
        if ours:
            assert ours == await redis.execute_command("COMMAND GETKEYS", *line), line
        else:
            with pytest.raises(Exception, match="no key arguments"):
                await redis.execute_command("COMMAND GETKEYS", *line)


async def test_each_command_of_the_server_is_allowed_with_its_own_arity_or_refused(redis: Redis) -> None:
    arities = {name.upper(): int(row["arity"]) for name, row in (await redis.command()).items()}
    assert len(arities) > 200
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
    for name, row in (await redis.command()).items():
        if name.upper() in ALLOWED and name != "keys":  # done over the tenant's own names
            assert not never & {str(flag) for flag in row["flags"]}, name
            assert not categories & {str(category) for category in row["acl_categories"]}, name


REFUSED = """
SETRANGE k 536870911 x|SETRANGE k -1 x|SETRANGE k 1048576 x|SETRANGE k 1e3 x
SETBIT k 4294967295 1|SETBIT k 8388608 1
BITFIELD k SET u8 4294967288 1|BITFIELD k SET u8 #536870911 1|BITFIELD k incrby i64 #131072 1
BITFIELD k GET u8 0 OVERFLOW SAT SET u8 #99999999 1|BITFIELD k SET u8 ##1 1
MGET k k k k k|SUNION k k k k k|HMGET k f f f f f|HGETEX k FIELDS 5 f f f f f
ZUNION 5 k k k k k WEIGHTS 1 1 1 1 1
SRANDMEMBER k -101|HRANDFIELD k -9223372036854775808|ZRANDMEMBER k -1000000000 WITHSCORES
COPY a b DB 1|COPY a b REPLACE DB 1|COPY a b db 0
ZUNION 0 k|ZUNION 2 k|ZUNION -1 k k|ZUNION 01 k|ZUNION +1 k|ZUNION 1x k|LMPOP 3 k LEFT
ZUNIONSTORE k 9 k k|MSET a b c|MSETNX a|GET|GET a b|GEORADIUS k 1 1 1 km STORE x
EVAL return(1) 0|SORT k BY w_*|BLPOP k 0|XREAD BLOCK 0 STREAMS k 0|CONFIG GET *|SELECT 1
OBJECT ENCODING k|MIGRATE h 1 k 0 1|CLIENT LIST|SWAPDB 0 1|MOVE k 1|FLUSHDB|DEBUG SLEEP 1|NOSUCH
"""


@pytest.mark.parametrize("line", [call for line in REFUSED.strip().splitlines() for call in line.split("|")])
def test_what_could_reach_or_take_too_much_is_refused(line: str) -> None:
    with pytest.raises(CommandRefused, match=r"^ERR "):
        read_command(words(line))


@pytest.mark.parametrize(
    "line",
    [
        [], [b""], [b"GET", b""], [b"GET", b"x" * (KEY_MAX_BYTES + 1)], [b"GET", b"a\0b"], [b"GET", b"a\nb"],
        [b"GET", b"\xff"], [b"MGET", b"ok", b"\x7f"], [b"SET", b"k", b"x" * (VALUE_MAX_BYTES + 1)],
        [b"DEL", *[b"k"] * MAX_ARGUMENTS], [b"KEYS", b"*" * (KEY_MAX_BYTES + 1)], [b"G" * 10_000_000],
        [b"\xff\xfe"], ["\u017fet".encode(), b"k", b"v"], [b"GET\r\nFLUSHALL"], [b"G\0ET", b"k"],
    ],
)  # fmt: skip
def test_words_that_are_no_command_are_refused_in_a_short_sentence(line: Words) -> None:
    with pytest.raises(CommandRefused) as caught:
        read_command(line)
    assert len(caught.value.message) < 200
    assert caught.value.message.isprintable()
