"""Stored content as it comes: in pieces, in memory, or whole and checked into a file."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from urllib.parse import quote

from galaksio.connection import Connection, Lost
from galaksio.errors import BadAnswer, Unreachable
from galaksio.paying import succeeded
from shared.ipfs import Builder

MAX_FETCH_BYTES = 100 * 1024 * 1024
"""What `fetch` holds in memory unless told otherwise; `download` has no such limit."""


async def pieces(connection: Connection, cid: str, *, verify: bool) -> AsyncGenerator[bytes, None]:
    """The content as it comes. With `verify` raises `BadAnswer` after its end if it is not what `cid` says.

    Raises `Error` for no answer, a refusal, and an answer that was cut off.
    """
    builder = Builder() if verify else None
    try:
        async with connection.stream(f"/files/{quote(cid, safe='')}") as (refused, body):
            if refused is not None:
                succeeded(refused)
            async for piece in body:
                if builder is not None:
                    await asyncio.to_thread(builder.update, piece)
                yield piece
    except Lost as exc:
        raise Unreachable(connection.base_url, str(exc)) from None
    if builder is not None and (found := builder.finish().cid) != cid:
        raise BadAnswer(f"What came is not {cid} but {found}: nothing was kept.")


async def fetch(connection: Connection, cid: str, *, max_bytes: int, verify: bool) -> bytes:
    """The content in memory. Raises `BadAnswer` as soon as it is over `max_bytes`."""
    content = bytearray()
    async with aclosing(pieces(connection, cid, verify=verify)) as body:
        async for piece in body:
            content += piece
            if len(content) > max_bytes:
                raise BadAnswer(f"{cid} is over {max_bytes} bytes: download it, or raise max_bytes.")
    return bytes(content)


async def download(connection: Connection, cid: str, path: Path, *, verify: bool) -> int:
    """Write the content to `path` and return its size in bytes; what was there stays until it is whole."""
    part = path.with_name(f".{path.name}.part")
    try:
        with await asyncio.to_thread(part.open, "wb") as file:
            async with aclosing(pieces(connection, cid, verify=verify)) as body:
                async for piece in body:
                    await asyncio.to_thread(file.write, piece)
            size_bytes = file.tell()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return size_bytes
