"""The Redis commands that a cache answers, and where each has its keys. Every other one is refused by name.

A command is here when it touches nothing but the keys that can be read off its arguments, comes back at once,
and costs no more than the size of what the cache holds. So there is no scripting, no blocking, no pub/sub, no
transaction by hand (`/multi-exec` is one), no SORT (it reads keys that patterns make up), no LCS (its time is
the product of two lengths), no OBJECT, DUMP or RESTORE.

Arities are Redis' own: the name counts, a negative one is the least. A test compares all of it with a server.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from shared.caches.command import Command
from shared.caches.limits import KEY_MAX_BYTES, VALUE_MAX_BYTES, checked_key
from shared.errors import BadRequest

MAX_ARGUMENTS = 7_000
"""Of one command. A script hands them on over Lua's stack, which ends at 8,000."""
MAX_SAMPLES = 100
"""Of a negative count, with which members come more than once: it is not bounded by what there is."""
MAX_REPEATS = 3
"""How often one command may name a key again, or a field that it reads: work is bounded by what there is."""

Positions = tuple[int, ...]
Layout = Callable[[Sequence[bytes]], Positions]


class CommandRefused(BadRequest):
    """A command that is not run. The message begins with `ERR`, as Redis' own do."""

    code = "command_refused"

    def __init__(self, message: str) -> None:
        super().__init__(f"ERR {message}")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What is known of a command. `keys` gives the positions of its keys among the arguments, from 0."""

    name: str
    arity: int
    keys: Layout
    check: Callable[[Sequence[bytes]], None] | None = None


def read_command(words: Sequence[bytes]) -> Command:
    """The command that `words` spell, its name first. Raises `CommandRefused`; limits are in this module."""
    if not words:
        raise CommandRefused("empty command")
    name = words[0][:64].decode("utf-8", "replace").upper()
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
        _check_key(args[position])
    _check_repeats([args[position] for position in positions])
    if allowed.check is not None:
        allowed.check(args)
    return Command(name, args, positions)


# -- where the keys are -----------------------------------------------------------------------------------


def _none(_: Sequence[bytes]) -> Positions:
    return ()


def _first(_: Sequence[bytes]) -> Positions:
    return (0,)


def _first_two(_: Sequence[bytes]) -> Positions:
    return (0, 1)


def _all(args: Sequence[bytes]) -> Positions:
    return tuple(range(len(args)))


def _every_second(args: Sequence[bytes]) -> Positions:
    if len(args) % 2:
        raise CommandRefused("wrong number of arguments: every key needs a value")
    return tuple(range(0, len(args), 2))


def _all_but_first(args: Sequence[bytes]) -> Positions:
    return tuple(range(1, len(args)))


def _counted(args: Sequence[bytes]) -> Positions:
    return tuple(range(1, 1 + _key_count(args, 0)))


def _target_and_counted(args: Sequence[bytes]) -> Positions:
    return (0, *range(2, 2 + _key_count(args, 1)))


def _key_count(args: Sequence[bytes], position: int) -> int:
    # Spelled as Redis itself would write it, so that it cannot be read in two ways.
    count = int(args[position]) if re.fullmatch(rb"[1-9][0-9]{0,4}", args[position]) else 0
    if not 0 < count < len(args) - position:
        raise CommandRefused("numkeys is not the number of keys that follow")
    return count


# -- what else is bounded ---------------------------------------------------------------------------------


def _check_key(key: bytes) -> None:
    try:
        checked_key(key.decode())
    except UnicodeDecodeError:
        raise CommandRefused("a key must be UTF-8") from None
    except BadRequest as exc:
        raise CommandRefused(exc.message) from None


def _check_repeats(names: Sequence[bytes]) -> None:
    if len(names) > MAX_REPEATS and len(names) - len(set(names)) > MAX_REPEATS:
        raise CommandRefused(f"the same name comes again more than {MAX_REPEATS} times")


def _check_pattern(args: Sequence[bytes]) -> None:
    if len(args[0]) > KEY_MAX_BYTES:
        raise CommandRefused(f"the pattern is over {KEY_MAX_BYTES} bytes")


def _check_copy(args: Sequence[bytes]) -> None:
    if [option.upper() for option in args[2:]] not in ([], [b"REPLACE"]):
        raise CommandRefused("COPY takes REPLACE and nothing else here")


def _check_range_offset(args: Sequence[bytes]) -> None:
    _at_most(args[1], VALUE_MAX_BYTES - len(args[2]), "offset")


def _check_bit_offset(args: Sequence[bytes]) -> None:
    _at_most(args[1], VALUE_MAX_BYTES * 8 - 1, "bit offset")


def _check_bitfield(args: Sequence[bytes]) -> None:
    """GET, SET and INCRBY are followed by a type and an offset: in bits, or with `#` in whole types."""
    for position, word in enumerate(args):
        if position and word.upper() in (b"GET", b"SET", b"INCRBY") and position + 2 < len(args):
            offset = args[position + 2]
            most = VALUE_MAX_BYTES * 8 - 64
            _at_most(offset.removeprefix(b"#"), most // 64 if offset.startswith(b"#") else most, "bit offset")


def _check_sample(args: Sequence[bytes]) -> None:
    """A count below zero asks for so many, however few there are."""
    if len(args) > 1 and args[1].startswith(b"-"):
        _at_most(args[1][1:], MAX_SAMPLES, "count")


def _at_most(number: bytes, most: int, what: str) -> None:
    if not re.fullmatch(rb"[0-9]{1,20}", number):
        raise CommandRefused(f"{what} is not an integer or out of range")
    if int(number) > most:
        raise CommandRefused(f"{what} is over {most}, the most that is taken here")


def _printable(name: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in name)


# -- the table --------------------------------------------------------------------------------------------

_TABLE: tuple[tuple[Layout, str], ...] = (
    (_none, "PING -1, ECHO 2, TIME 1, DBSIZE 1, RANDOMKEY 1, KEYS 2, SCAN -2"),
    # Strings, counters, bitmaps.
    (_first, "APPEND 3, DECR 2, DECRBY 3, GET 2, GETDEL 2, GETEX -2, GETRANGE 4, GETSET 3, INCR 2, INCRBY 3"),
    (_first, "INCRBYFLOAT 3, PSETEX 4, SET -3, SETEX 4, SETNX 3, SETRANGE 4, STRLEN 2, SUBSTR 4"),
    (_first, "BITCOUNT -2, BITFIELD -2, BITFIELD_RO -2, BITPOS -3, GETBIT 3, SETBIT 4"),
    (_all, "MGET -2"),
    (_every_second, "MSET -3, MSETNX -3"),
    (_all_but_first, "BITOP -4"),
    # Keys and their expiry.
    (_first, "EXPIRE -3, EXPIREAT -3, EXPIRETIME 2, PERSIST 2, PEXPIRE -3, PEXPIREAT -3, PEXPIRETIME 2"),
    (_first, "PTTL 2, TTL 2, TYPE 2"),
    (_all, "DEL -2, EXISTS -2, TOUCH -2, UNLINK -2"),
    (_first_two, "COPY -3, RENAME 3, RENAMENX 3"),
    # Hashes, with an expiry for each field where the server is new enough.
    (_first, "HDEL -3, HEXISTS 3, HGET 3, HGETALL 2, HINCRBY 4, HINCRBYFLOAT 4, HKEYS 2, HLEN 2, HMGET -3"),
    (_first, "HMSET -4, HRANDFIELD -2, HSCAN -3, HSET -4, HSETNX 4, HSTRLEN 3, HVALS 2"),
    (_first, "HEXPIRE -6, HEXPIREAT -6, HEXPIRETIME -5, HPERSIST -5, HPEXPIRE -6, HPEXPIREAT -6"),
    (_first, "HPEXPIRETIME -5, HPTTL -5, HTTL -5, HGETDEL -5, HGETEX -5, HSETEX -6"),
    # Lists.
    (_first, "LINDEX 3, LINSERT 5, LLEN 2, LPOP -2, LPOS -3, LPUSH -3, LPUSHX -3, LRANGE 4, LREM 4, LSET 4"),
    (_first, "LTRIM 4, RPOP -2, RPUSH -3, RPUSHX -3"),
    (_first_two, "LMOVE 5, RPOPLPUSH 3"),
    (_counted, "LMPOP -4"),
    # Sets.
    (_first, "SADD -3, SCARD 2, SISMEMBER 3, SMEMBERS 2, SMISMEMBER -3, SPOP -2, SRANDMEMBER -2, SREM -3"),
    (_first, "SSCAN -3"),
    (_first_two, "SMOVE 4"),
    (_all, "SDIFF -2, SDIFFSTORE -3, SINTER -2, SINTERSTORE -3, SUNION -2, SUNIONSTORE -3"),
    (_counted, "SINTERCARD -3"),
    # Sorted sets, and the places that are kept in them.
    (_first, "ZADD -4, ZCARD 2, ZCOUNT 4, ZINCRBY 4, ZLEXCOUNT 4, ZMSCORE -3, ZPOPMAX -2, ZPOPMIN -2"),
    (_first, "ZRANDMEMBER -2, ZRANGE -4, ZRANGEBYLEX -4, ZRANGEBYSCORE -4, ZRANK -3, ZREM -3"),
    (_first, "ZREMRANGEBYLEX 4, ZREMRANGEBYRANK 4, ZREMRANGEBYSCORE 4, ZREVRANGE -4, ZREVRANGEBYLEX -4"),
    (_first, "ZREVRANGEBYSCORE -4, ZREVRANK -3, ZSCAN -3, ZSCORE 3"),
    (_first, "GEOADD -5, GEODIST -4, GEOHASH -2, GEOPOS -2, GEOSEARCH -7"),
    (_first_two, "GEOSEARCHSTORE -8, ZRANGESTORE -5"),
    (_counted, "ZDIFF -3, ZINTER -3, ZINTERCARD -3, ZMPOP -4, ZUNION -3"),
    (_target_and_counted, "ZDIFFSTORE -4, ZINTERSTORE -4, ZUNIONSTORE -4"),
    # How many different things there were.
    (_first, "PFADD -2"),
    (_all, "PFCOUNT -2, PFMERGE -2"),
)

_CHECKS: dict[str, Callable[[Sequence[bytes]], None]] = {
    "KEYS": _check_pattern,
    "COPY": _check_copy,
    "HMGET": _check_repeats,
    "HGETEX": _check_repeats,
    "SETRANGE": _check_range_offset,
    "SETBIT": _check_bit_offset,
    "BITFIELD": _check_bitfield,
    "HRANDFIELD": _check_sample,
    "SRANDMEMBER": _check_sample,
    "ZRANDMEMBER": _check_sample,
}


def _allowed() -> Iterator[Allowed]:
    for layout, line in _TABLE:
        for name, arity in (entry.split() for entry in line.split(", ")):
            yield Allowed(name, int(arity), layout, _CHECKS.get(name))


ALLOWED = {allowed.name: allowed for allowed in _allowed()}
"""By name, in capitals."""
