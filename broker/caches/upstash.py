"""The REST protocol of Upstash: how commands are read off a request, and replies written as JSON.

Source: Upstash's "REST API" page, and what its stock clients send.
"""

import base64
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.responses import JSONResponse, Response

from broker.caches.route import NO_STORE, CacheRequest
from shared.caches.base import RunsCommands
from shared.caches.command import Command, CommandFailed, Reply
from shared.caches.command_rules import CommandRefused
from shared.caches.commands import read_command
from shared.errors import BadRequest, error_body
from shared.middleware import header

MAX_COMMANDS = 1000
"""In one pipeline or transaction."""
Words = list[bytes]


# -- requests ---------------------------------------------------------------------------------------------


def words_of_path(request: CacheRequest, body: bytes) -> Words:
    """`/set/k/v?EX=60`: the path's parts, then the body when there is one, then the query's parameters."""
    words = [unquote_to_bytes(part) for part in request.raw_rest.split(b"/")]
    if body:
        words.append(body)
    for name, value in request.query:
        if name != b"_token":
            words += [name, value] if value else [name]
    return words


def words_of_body(body: bytes) -> Words:
    """`["SET", "k", "v"]`. Raises `CommandRefused`."""
    return _words(_json_array(body))


def pipeline_of_body(body: bytes) -> list[Words]:
    """`[["SET", "k", "v"], ["GET", "k"]]`. Raises `CommandRefused`, also for more than 1,000 commands."""
    rows = _json_array(body)
    if not rows:
        raise CommandRefused("empty pipeline")
    if len(rows) > MAX_COMMANDS:
        raise CommandRefused(f"more than {MAX_COMMANDS} commands in one request")
    return [_words(row) for row in rows]


def _json_array(body: bytes) -> list[Any]:
    try:
        # Numbers stay as they are written.
        found = json.loads(body, parse_int=str, parse_float=str, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise CommandRefused("failed to parse the body: it must be a JSON array") from None
    if not isinstance(found, list):
        raise CommandRefused("the body must be a JSON array")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _words(row: Any) -> Words:
    if not isinstance(row, list):
        raise CommandRefused("a command must be a JSON array")
    return [_word(item) for item in row]


def _word(item: Any) -> bytes:
    if isinstance(item, bool):
        return b"true" if item else b"false"
    if not isinstance(item, str):
        raise CommandRefused("an argument must be a string, a number or a boolean")
    try:
        return item.encode()
    except UnicodeEncodeError:
        raise CommandRefused("an argument is not valid Unicode") from None


# -- answers ----------------------------------------------------------------------------------------------


class Answers:
    """How the caller of `request` wants replies written. Raises `BadRequest` for a format other than JSON."""

    def __init__(self, request: CacheRequest) -> None:
        wanted = header(request.scope, b"upstash-response-format")
        if wanted.lower() not in (b"", b"json"):
            raise BadRequest("ERR Upstash-Response-Format must be json here", code="unknown_format")
        encoded = header(request.scope, b"upstash-encoding").lower() == b"base64"
        self._text = _base64 if encoded else _utf8

    def one(self, reply: Reply) -> Response:
        if isinstance(reply, CommandFailed):
            return JSONResponse(error_body(reply.text, "command_failed"), 400, headers=NO_STORE)
        return JSONResponse(self._item(reply), headers=NO_STORE)

    def many(self, replies: Sequence[Reply]) -> Response:
        return JSONResponse([self._item(reply) for reply in replies], headers=NO_STORE)

    def _item(self, reply: Reply) -> dict[str, Any]:
        if isinstance(reply, CommandFailed):
            return {"error": reply.text}
        # The one text that is never encoded, unless it is part of a list.
        return {"result": "OK" if reply == b"OK" else self._json(reply)}

    def _json(self, reply: Any) -> Any:
        if isinstance(reply, bytes):
            return self._text(reply)
        if isinstance(reply, list):
            return [self._json(item) for item in reply]
        return reply


def _utf8(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _base64(text: bytes) -> str:
    return base64.b64encode(text).decode()


# -- the work ---------------------------------------------------------------------------------------------


async def run_one(caches: RunsCommands, cache_id: str, words: Words) -> Reply:
    """The reply to one command. Raises `CommandRefused` for one that is not run."""
    (reply,) = await caches.run(cache_id, [read_command(words)])
    return reply


async def run_pipeline(caches: RunsCommands, cache_id: str, rows: Sequence[Words]) -> list[Reply]:
    """The replies in the order of `rows`, an error for a command that is refused: that is not counted."""
    read = [_read_or_refusal(words) for words in rows]
    commands = [item for item in read if isinstance(item, Command)]
    replies = iter(await caches.run(cache_id, commands) if commands else [])
    return [next(replies) if isinstance(item, Command) else item for item in read]


async def run_transaction(caches: RunsCommands, cache_id: str, rows: Sequence[Words]) -> list[Reply]:
    """All of `rows`, and nobody else's in between. Raises `BadRequest` when one is refused."""
    try:
        commands = [read_command(words) for words in rows]
    except CommandRefused as refused:
        raise BadRequest(
            f"EXECABORT Transaction discarded: {refused.message}", code="transaction_discarded"
        ) from None
    return await caches.run(cache_id, commands)


def _read_or_refusal(words: Words) -> Command | CommandFailed:
    try:
        return read_command(words)
    except CommandRefused as refused:
        return CommandFailed(refused.message)
