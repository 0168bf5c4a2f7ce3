"""Where commands have their keys, and what of their arguments is bounded besides."""

import re
from collections.abc import Callable, Sequence

from shared.caches.limits import KEY_MAX_BYTES, VALUE_MAX_BYTES, checked_key
from shared.errors import BadRequest

MAX_SAMPLES = 100
"""Of a negative count, with which members come more than once: it is not bounded by what there is."""
MAX_REPEATS = 3
"""How often one command may name a key again, or a field that it reads: work is bounded by what there is."""

Positions = tuple[int, ...]
Layout = Callable[[Sequence[bytes]], Positions]
Rule = Callable[[Sequence[bytes]], None]


class CommandRefused(BadRequest):
    """A command that is not run. The message begins with `ERR`, as Redis' own do."""

    code = "command_refused"

    def __init__(self, message: str) -> None:
        super().__init__(f"ERR {message}")


# -- where the keys are -----------------------------------------------------------------------------------


def no_keys(_: Sequence[bytes]) -> Positions:
    return ()


def first(_: Sequence[bytes]) -> Positions:
    return (0,)


def first_two(_: Sequence[bytes]) -> Positions:
    return (0, 1)


def all_of_them(args: Sequence[bytes]) -> Positions:
    return tuple(range(len(args)))


def every_second(args: Sequence[bytes]) -> Positions:
    if len(args) % 2:
        raise CommandRefused("wrong number of arguments: every key needs a value")
    return tuple(range(0, len(args), 2))


def all_but_first(args: Sequence[bytes]) -> Positions:
    return tuple(range(1, len(args)))


def counted(args: Sequence[bytes]) -> Positions:
    return tuple(range(1, 1 + _key_count(args, 0)))


def target_and_counted(args: Sequence[bytes]) -> Positions:
    return (0, *range(2, 2 + _key_count(args, 1)))


def _key_count(args: Sequence[bytes], position: int) -> int:
    # Spelled as Redis itself would write it, so that it cannot be read in two ways.
    count = int(args[position]) if re.fullmatch(rb"[1-9][0-9]{0,4}", args[position]) else 0
    if not 0 < count < len(args) - position:
        raise CommandRefused("numkeys is not the number of keys that follow")
    return count


# -- what else is bounded ---------------------------------------------------------------------------------


def check_key(key: bytes) -> None:
    try:
        checked_key(key.decode())
    except UnicodeDecodeError:
        raise CommandRefused("a key must be UTF-8") from None
    except BadRequest as exc:
        raise CommandRefused(exc.message) from None


def check_repeats(names: Sequence[bytes]) -> None:
    if len(names) > MAX_REPEATS and len(names) - len(set(names)) > MAX_REPEATS:
        raise CommandRefused(f"the same name comes again more than {MAX_REPEATS} times")


def check_pattern(args: Sequence[bytes]) -> None:
    if len(args[0]) > KEY_MAX_BYTES:
        raise CommandRefused(f"the pattern is over {KEY_MAX_BYTES} bytes")


def check_copy(args: Sequence[bytes]) -> None:
    if [option.upper() for option in args[2:]] not in ([], [b"REPLACE"]):
        raise CommandRefused("COPY takes REPLACE and nothing else here")


def check_range_offset(args: Sequence[bytes]) -> None:
    _at_most(args[1], VALUE_MAX_BYTES - len(args[2]), "offset")


def check_bit_offset(args: Sequence[bytes]) -> None:
    _at_most(args[1], VALUE_MAX_BYTES * 8 - 1, "bit offset")


def check_bitfield(args: Sequence[bytes]) -> None:
    """GET, SET and INCRBY are followed by a type and an offset: in bits, or with `#` in whole types."""
    for position, word in enumerate(args):
        if position and word.upper() in (b"GET", b"SET", b"INCRBY") and position + 2 < len(args):
            offset = args[position + 2]
            most = VALUE_MAX_BYTES * 8 - 64
            _at_most(offset.removeprefix(b"#"), most // 64 if offset.startswith(b"#") else most, "bit offset")


def check_sample(args: Sequence[bytes]) -> None:
    """A count below zero asks for so many, however few there are."""
    if len(args) > 1 and args[1].startswith(b"-"):
        _at_most(args[1][1:], MAX_SAMPLES, "count")


def _at_most(number: bytes, most: int, what: str) -> None:
    if not re.fullmatch(rb"[0-9]{1,20}", number):
        raise CommandRefused(f"{what} is not an integer or out of range")
    if int(number) > most:
        raise CommandRefused(f"{what} is over {most}, the most that is taken here")
