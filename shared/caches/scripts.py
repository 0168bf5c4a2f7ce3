"""The Lua that runs inside Redis, by name."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError


async def command(redis: Redis, *words: bytes | str | int) -> Any:
    """The bare reply. redis-py has no types for this call."""
    execute: Any = redis.execute_command
    return await execute(*words)


@dataclass(frozen=True, slots=True)
class Script:
    """Sent as a whole only to a server that does not know it yet."""

    text: str
    sha: str

    async def run(self, redis: Redis, keys: tuple[bytes, ...], *args: bytes | str | int) -> Any:
        try:
            return await command(redis, "EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await command(redis, "EVAL", self.text, len(keys), *keys, *args)


@cache
def script(name: str) -> Script:
    """`lua/NAME.lua` after the functions that all scripts share."""
    folder = files("shared.caches").joinpath("lua")
    parts = [folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("prelude", name)]
    text = "\n".join(parts)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
