"""A Redis command that was checked already, and what came of it."""

from dataclasses import dataclass
from typing import TypeAlias, Union

Reply: TypeAlias = Union[int, bytes, list["Reply"], "CommandFailed", None]
"""As RESP2 has it: a number, a text (also for `OK`), a list, nothing."""


@dataclass(frozen=True, slots=True)
class Command:
    """`name` in capitals; `key_positions` are the places of the keys in `args`, from 0.

    Who makes one answers for it: that every key is named by its position, and that what it makes is bounded
    (the offsets of SETRANGE, SETBIT and BITFIELD). A cache lets it touch nothing but its own keys.
    """

    name: str
    args: tuple[bytes, ...]
    key_positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CommandFailed:
    """What Redis says of a command that it could not do, such as `WRONGTYPE …`. It names no key."""

    text: str
