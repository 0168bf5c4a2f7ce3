"""The same unpaid request a moment later gets the same 402, without going through the gate again.

Stands in front of every other middleware but the one that counts. It has nothing to run work with: all it
can do is tell once more what the gate just told, or pass the request on. It answers itself only when

- it is a plain POST to a sold route as that is declared, and every header it has is named below: one with a
  payment, an Origin, a cookie or anything else goes the ordinary way, in whatever spelling;
- its body and all else that the answer may depend on are byte for byte those of a request that went that way;
- the gate said how long its answer to that one may be told (`repeats.may_be_told_again`), and it is not over.

The rate limit is counted first and once, as for any other request.
"""

from collections.abc import Iterable
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.payments.repeats import LENGTH, Key, Repeats
from broker.ratelimits import RateLimited, RateLimits
from shared.middleware import REQUEST_ID, id_of_request
from shared.observed import TOLD_AGAIN

MAX_BODY_BYTES = 64 * 1024

_DECIDING = frozenset({b"host", b"content-type", b"accept", b"x-forwarded-proto", b"x-forwarded-host"})
"""Headers that an answer might depend on: they have to be the same."""
_WITHOUT_EFFECT = frozenset(
    {
        b"user-agent",
        b"accept-encoding",
        b"accept-language",
        b"connection",
        b"sec-fetch-mode",
        b"x-forwarded-for",
        b"x-real-ip",
    }
)
"""Headers that do not change what is answered. `X-Forwarded-For` says who is counted."""


class _Asked(NamedTuple):
    """What a request says before its body. `key` still lacks the body; `own_id` is the caller's, or empty."""

    key: Key
    length: int
    own_id: bytes


class RepeatMiddleware:
    """ASGI middleware over `app`, for the sold routes that are declared with `paths`."""

    def __init__(self, app: ASGIApp, paths: Iterable[str], limits: RateLimits, repeats: Repeats) -> None:
        self.app = app
        self._paths = {path: path.encode() for path in paths}
        self._limits = limits
        self._repeats = repeats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = self._read(scope)
        if asked is None:
            await self.app(scope, receive, send)
            return
        try:
            await self._limits.count_request(scope)
        except RateLimited:
            # Refused further in, where every request is; it is not counted again.
            await self.app(scope, receive, send)
            return
        message = await receive()
        body = message.get("body", b"")
        whole = message["type"] == "http.request" and not message.get("more_body", False)
        if not whole or len(body) != asked.length:
            await self.app(scope, _replayed(message, receive), send)
            return
        key = (body, *asked.key)
        answer = self._repeats.find(key)
        if answer is not None:
            scope[TOLD_AGAIN] = scope["path"]
            await answer.send_as(id_of_request(asked.own_id), send)
            return
        if self._repeats.seen(key):
            send = self._repeats.keeping(key, scope, send)
        await self.app(scope, _replayed(message, receive), send)

    def _read(self, scope: Scope) -> _Asked | None:
        """What has to be the same for the same answer, or None for a request that is not for here."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["query_string"]:
            return None
        path = self._paths.get(scope["path"])
        if path is None or scope.get("raw_path") != path or scope.get("root_path"):
            return None
        length = own_id = b""
        deciding: list[bytes] = []
        for name, value in scope["headers"]:
            if name in _DECIDING:
                deciding += (name, value)
            elif name == LENGTH and not length:
                length = value
            elif name == REQUEST_ID and not own_id:
                own_id = value
            elif name not in _WITHOUT_EFFECT:
                return None
        if not length.isdigit() or len(length) > 5 or int(length) > MAX_BODY_BYTES:
            return None
        key = (path, scope["scheme"], *(scope.get("server") or ()), *deciding)
        return _Asked(key, int(length), own_id)


def _replayed(first: Message, receive: Receive) -> Receive:
    """`receive` with `first`, which was already taken from it, put back."""
    waiting = [first]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
