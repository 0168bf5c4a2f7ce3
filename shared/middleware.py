"""ASGI middleware that all services share. Pure: what goes through is never buffered."""

import hmac
import ipaddress
import os
import re
import traceback
from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import GalaksioError, StartupError, error_response
from shared.logs import set_request_id

REQUEST_ID = b"x-request-id"
_ANSWERS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
"""The ASGI messages that carry the headers of an answer."""
_WELL_FORMED_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def header(scope: Scope, name: bytes) -> bytes:
    """The first header of this lower-case name in an ASGI request, or nothing.

    Starlette's `Headers` decodes all names and values first, which a middleware pays for every request.
    """
    for given, value in scope["headers"]:
        if given == name:
            return bytes(value)
    return b""


def id_of_request(given: bytes) -> bytes:
    """The id a request is answered under: `given` by the caller when it is well-formed, else a new one."""
    return given if _WELL_FORMED_ID.fullmatch(given) else os.urandom(16).hex().encode()


class RequestId:
    """Every answer carries `X-Request-ID`: the caller's own when it is well-formed, else a new one.

    So does the handshake of a WebSocket that is accepted.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        value = id_of_request(header(scope, REQUEST_ID))
        set_request_id(value.decode())

        async def with_id(message: Message) -> None:
            if message["type"] in _ANSWERS:
                others = [pair for pair in message.get("headers", ()) if pair[0].lower() != REQUEST_ID]
                message["headers"] = [*others, (REQUEST_ID, value)]
            await send(message)

        await self.app(scope, receive, with_id)


class ReadableStartup:
    """A `StartupError` while the lifespan starts is one sentence in the log, not a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        failed = False

        async def hold_back(message: Message) -> None:
            nonlocal failed
            failed = message["type"] == "lifespan.startup.failed"
            if not failed:
                await send(message)

        try:
            await self.app(scope, receive, hold_back)
        except StartupError as exc:
            await send({"type": "lifespan.startup.failed", "message": str(exc)})
        except BaseException:
            if failed:
                await send({"type": "lifespan.startup.failed", "message": traceback.format_exc()})
            raise


class BodyLimit:
    """A body over `limit_bytes` is answered 413, from its declared length or once that much was read.

    `larger` are the limits of routes that read their bodies as a stream, by method and path.
    """

    def __init__(
        self, app: ASGIApp, limit_bytes: int, larger: Mapping[tuple[str, str], int] | None = None
    ) -> None:
        self.app = app
        self.limit_bytes = limit_bytes
        self.larger = dict(larger or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit_bytes = self.larger.get((scope["method"], scope["path"]), self.limit_bytes)
        declared = header(scope, b"content-length")
        if declared.isdigit() and int(declared) > limit_bytes:
            await error_response(body_too_large(limit_bytes))(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit_bytes:
                raise body_too_large(limit_bytes)
            return message

        await self.app(scope, counted, send)


def body_too_large(limit_bytes: int) -> GalaksioError:
    return GalaksioError(f"the body is over {limit_bytes // 2**20} MB", status=413, code="body_too_large")


class InternalOnly:
    """Keeps strangers out of quote and executor.

    With `token` set, a request needs `Authorization: Bearer <token>`; without it only loopback
    peers are answered. `open_paths` need neither: health, and metrics, which ask for a token themselves.
    """

    def __init__(self, app: ASGIApp, token: str | None, open_paths: Iterable[str] = ()) -> None:
        self.app = app
        self.token = token
        self.open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in self.open_paths or self._allowed(scope):
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if self.token:
            error = GalaksioError(
                "This service is internal: a bearer token is needed.", status=401, code="unauthorized"
            )
        else:
            error = GalaksioError(
                "This service is internal and answers loopback only; set INTERNAL_API_TOKEN on all services.",
                status=403,
                code="forbidden",
            )
        await error_response(error)(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        if self.token:
            return hmac.compare_digest(header(scope, b"authorization"), f"Bearer {self.token}".encode())
        return is_loopback(scope)


def is_loopback(scope: Scope) -> bool:
    """Whether the peer is on this machine. Behind a proxy that stands there, everybody is."""
    client = scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
