"""The Redis commands that a cache answers, and where each has its keys. Every other one is refused by name.

A command is here when it touches nothing but the keys that can be read off its arguments, comes back at once,
and costs no more than the size of what the cache holds. So there is no scripting, no blocking, no pub/sub, no
transaction by hand (`/multi-exec` is one), no SORT (it reads keys that patterns make up), no LCS (its time is
the product of two lengths), no OBJECT, DUMP or RESTORE.

Arities are Redis' own: the name counts, a negative one is the least. A test compares all of it with a server.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shared.caches.command import Command
from shared.caches.command_rules import (
    CommandRefused,
    Layout,
    Rule,
    all_but_first,
    all_of_them,
    check_bit_offset,
    check_bitfield,
    check_copy,
    check_key,
    check_pattern,
    check_range_offset,
    check_repeats,
    check_sample,
    counted,
    every_second,
    first,
    first_two,
    no_keys,
    target_and_counted,
)
from shared.caches.limits import VALUE_MAX_BYTES

MAX_ARGUMENTS = 7_000
"""Of one command. A script hands them on over Lua's stack, which ends at 8,000."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What is known of a command. `keys` gives the positions of its keys among the arguments, from 0."""

    name: str
    arity: int
    keys: Layout
    check: Rule | None = None


def read_command(words: Sequence[bytes]) -> Command:
    """The command that `words` spell, its name first. Raises `CommandRefused`."""
    if not words:
        raise CommandRefused("empty command")
    name = words[0][:64].upper().decode("utf-8", "replace")
    allowed = ALLOWED.get(name)
    if allowed is None:
        raise CommandRefused(f"command '{_printable(name)}' is not available here")
    if len(words) > MAX_ARGUMENTS:
        raise CommandRefused(f"'{name}' has more than {MAX_ARGUMENTS} arguments")
    if len(words) != allowed.arity and (allowed.arity > 0 or len(words) < -allowed.arity):
        raise CommandRefused(f"wrong number of arguments for '{name}' command")
    args = tuple(words[1:])
    if any(len(arg) > VALUE_MAX_BYTES for arg in args):
        raise CommandRefused(f"an argument of '{name}' is over {VALUE_MAX_BYTES} bytes")
    positions = allowed.keys(args)
    for position in positions:
        check_key(args[position])
    check_repeats([args[position] for position in positions])
    if allowed.check is not None:
        allowed.check(args)
    return Command(name, args, positions)


def _printable(name: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in name)


_TABLE: tuple[tuple[Layout, str], ...] = (
    (no_keys, "PING -1, ECHO 2, TIME 1, DBSIZE 1, RANDOMKEY 1, KEYS 2, SCAN -2"),
    # Strings, counters, bitmaps.
    (first, "APPEND 3, DECR 2, DECRBY 3, GET 2, GETDEL 2, GETEX -2, GETRANGE 4, GETSET 3, INCR 2, INCRBY 3"),
    (first, "INCRBYFLOAT 3, PSETEX 4, SET -3, SETEX 4, SETNX 3, SETRANGE 4, STRLEN 2, SUBSTR 4"),
    (first, "BITCOUNT -2, BITFIELD -2, BITFIELD_RO -2, BITPOS -3, GETBIT 3, SETBIT 4"),
    (all_of_them, "MGET -2"),
    (every_second, "MSET -3, MSETNX -3"),
    (all_but_first, "BITOP -4"),
    # Keys and their expiry.
    (first, "EXPIRE -3, EXPIREAT -3, EXPIRETIME 2, PERSIST 2, PEXPIRE -3, PEXPIREAT -3, PEXPIRETIME 2"),
    (first, "PTTL 2, TTL 2, TYPE 2"),
    (all_of_them, "DEL -2, EXISTS -2, TOUCH -2, UNLINK -2"),
    (first_two, "COPY -3, RENAME 3, RENAMENX 3"),
    # Hashes, with an expiry for each field where the server is new enough.
    (first, "HDEL -3, HEXISTS 3, HGET 3, HGETALL 2, HINCRBY 4, HINCRBYFLOAT 4, HKEYS 2, HLEN 2, HMGET -3"),
    (first, "HMSET -4, HRANDFIELD -2, HSCAN -3, HSET -4, HSETNX 4, HSTRLEN 3, HVALS 2"),
    (first, "HEXPIRE -6, HEXPIREAT -6, HEXPIRETIME -5, HPERSIST -5, HPEXPIRE -6, HPEXPIREAT -6"),
    (first, "HPEXPIRETIME -5, HPTTL -5, HTTL -5, HGETDEL -5, HGETEX -5, HSETEX -6"),
    # Lists.
    (first, "LINDEX 3, LINSERT 5, LLEN 2, LPOP -2, LPOS -3, LPUSH -3, LPUSHX -3, LRANGE 4, LREM 4, LSET 4"),
    (first, "LTRIM 4, RPOP -2, RPUSH -3, RPUSHX -3"),
    (first_two, "LMOVE 5, RPOPLPUSH 3"),
    (counted, "LMPOP -4"),
    # Sets.
    (first, "SADD -3, SCARD 2, SISMEMBER 3, SMEMBERS 2, SMISMEMBER -3, SPOP -2, SRANDMEMBER -2, SREM -3"),
    (first, "SSCAN -3"),
    (first_two, "SMOVE 4"),
    (all_of_them, "SDIFF -2, SDIFFSTORE -3, SINTER -2, SINTERSTORE -3, SUNION -2, SUNIONSTORE -3"),
    (counted, "SINTERCARD -3"),
    # Sorted sets, and the places that are kept in them.
    (first, "ZADD -4, ZCARD 2, ZCOUNT 4, ZINCRBY 4, ZLEXCOUNT 4, ZMSCORE -3, ZPOPMAX -2, ZPOPMIN -2"),
    (first, "ZRANDMEMBER -2, ZRANGE -4, ZRANGEBYLEX -4, ZRANGEBYSCORE -4, ZRANK -3, ZREM -3"),
    (first, "ZREMRANGEBYLEX 4, ZREMRANGEBYRANK 4, ZREMRANGEBYSCORE 4, ZREVRANGE -4, ZREVRANGEBYLEX -4"),
    (first, "ZREVRANGEBYSCORE -4, ZREVRANK -3, ZSCAN -3, ZSCORE 3"),
    (first, "GEOADD -5, GEODIST -4, GEOHASH -2, GEOPOS -2, GEOSEARCH -7"),
    (first_two, "GEOSEARCHSTORE -8, ZRANGESTORE -5"),
    (counted, "ZDIFF -3, ZINTER -3, ZINTERCARD -3, ZMPOP -4, ZUNION -3"),
    (target_and_counted, "ZDIFFSTORE -4, ZINTERSTORE -4, ZUNIONSTORE -4"),
    # How many different things there were.
    (first, "PFADD -2"),
    (all_of_them, "PFCOUNT -2, PFMERGE -2"),
)

_CHECKS: dict[str, Rule] = {
    "KEYS": check_pattern,
    "COPY": check_copy,
    "HMGET": check_repeats,
    "HGETEX": check_repeats,
    "SETRANGE": check_range_offset,
    "SETBIT": check_bit_offset,
    "BITFIELD": check_bitfield,
    "HRANDFIELD": check_sample,
    "SRANDMEMBER": check_sample,
    "ZRANDMEMBER": check_sample,
}


def _allowed() -> Iterator[Allowed]:
    for layout, line in _TABLE:
        for name, arity in (entry.split() for entry in line.split(", ")):
            yield Allowed(name, int(arity), layout, _CHECKS.get(name))


ALLOWED = {allowed.name: allowed for allowed in _allowed()}
"""By name, in capitals."""
