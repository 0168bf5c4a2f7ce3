"""Each request is counted, timed and written down, in front of everything else that the service does."""

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.http import HEALTH_PATHS, METRICS_PATH
from shared.logs import Access, log_access
from shared.metrics import Metrics

CLIENT_LEFT = 499
"""What is counted where no answer began, because nobody waited for it (nginx has the number)."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
TOLD_AGAIN = "galaksio.told_again"
"""The key in a request's scope for its route, where it was answered from memory ahead of all routes."""
_QUIET = frozenset({*HEALTH_PATHS, METRICS_PATH})


class Observed:
    """Pure ASGI, a few microseconds for a request (docs/decisions/0013).

    Health, metrics and answers told again from memory are written down at `debug`: they come in thousands.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
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


def _route(scope: Scope) -> str:
    """The path as its route declares it; everything that no route stands for is one."""
    return getattr(scope.get("route"), "path_format", None) or "unmatched"
