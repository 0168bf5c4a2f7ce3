"""Each request and WebSocket is counted, timed and written down, in front of all that the service does."""

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.http import HEALTH_PATHS, METRICS_PATH
from shared.logs import Access, get_logger, log_access
from shared.metrics import Metrics

log = get_logger("access")

CLIENT_LEFT = 499
"""What is counted where no answer began, because nobody waited for it (nginx has the number)."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
TOLD_AGAIN = "galaksio.told_again"
"""The key in a request's scope for its route, where it was answered from memory ahead of all routes."""
REFUSED = "galaksio.refused"
"""The key in a WebSocket's scope for the code of the error with which its route sent it away."""
NEVER_CLOSED = 1006
"""What is written down where nobody said goodbye (RFC 6455, 7.1.5)."""
_QUIET = frozenset({*HEALTH_PATHS, METRICS_PATH})


class Observed:
    """Pure ASGI, a few microseconds for a request (docs/decisions/0013).

    Health, metrics and answers told again from memory are written down at `debug`: they come in thousands.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, size_bytes = 0, 0

        async def watched(message: Message) -> None:
            nonlocal status, size_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size_bytes += len(message.get("body", b""))
            await send(message)

        began_s = perf_counter()
        try:
            await self.app(scope, receive, watched)
        except Exception:
            status = status or 500
            raise
        finally:
            took_s = perf_counter() - began_s
            method = scope["method"] if scope["method"] in METHODS else "other"
            told_again = scope.get(TOLD_AGAIN)
            route = told_again or _route(scope)
            access = Access(method, route, status or CLIENT_LEFT, took_s * 1000, size_bytes)
            self.metrics.count_request(method, route, access.status, took_s)
            log_access(access, quiet=told_again is not None or route in _QUIET)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A line when it ends. One that was never accepted was refused by its handshake."""
        accepted, code, size_bytes = False, 0, 0

        async def heard() -> Message:
            nonlocal code
            message = await receive()
            if message["type"] == "websocket.disconnect":
                code = code or message.get("code") or NEVER_CLOSED
            return message

        async def watched(message: Message) -> None:
            nonlocal accepted, code, size_bytes
            if message["type"] == "websocket.accept":
                accepted = True
                self.metrics.open_socket(_route(scope))
            elif message["type"] == "websocket.close":
                code = code or message.get("code", 1000)
            elif message["type"] == "websocket.send":
                size_bytes += len(message.get("bytes") or (message.get("text") or "").encode())
            await send(message)

        began_s = perf_counter()
        outcome = "failed"
        try:
            await self.app(scope, heard, watched)
            outcome = scope.get(REFUSED) or ("closed" if accepted else "rejected")
        finally:
            route, took_s = _route(scope), perf_counter() - began_s
            self.metrics.end_socket(route, outcome, took_s, accepted=accepted)
            ms = round(took_s * 1000, 3)
            told = {"ms": ms, "size_bytes": size_bytes}
            log.info("websocket", route=route, outcome=outcome, code=code or NEVER_CLOSED, **told)


def _route(scope: Scope) -> str:
    """The path as its route declares it; everything that no route stands for is one."""
    return getattr(scope.get("route"), "path_format", None) or "unmatched"
