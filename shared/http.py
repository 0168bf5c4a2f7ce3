"""The apps of all services, and their HTTP clients for each other."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import httpx
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from shared import __version__
from shared.errors import (
    UnexpectedErrors,
    install_error_handlers,
)
from shared.middleware import BodyLimit, InternalOnly, ReadableStartup, RequestId
from shared.trust import trusted

MB = 1024 * 1024
MAX_BODY_BYTES = 10 * MB
RECURSION_LIMIT = 1000
HEALTH_PATHS = ("/health", "/health/ready", "/health/detailed")
METRICS_PATH = "/metrics"


# FastAPI asks three OpenTelemetry providers at every request, which have nothing to do unless told to.
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

# What a browser may read and send (payments.md §1).
EXPOSED_HEADERS = [
    "PAYMENT-REQUIRED",
    "PAYMENT-RESPONSE",
    "X-PAYMENT-RESPONSE",
    "X-Request-ID",
    "Location",
    "Retry-After",
    "ETag",
    "Accept-Ranges",
    "Content-Range",
    "Content-Disposition",
]
ALLOWED_HEADERS = [
    "PAYMENT-SIGNATURE",
    "X-PAYMENT",
    "Content-Type",
    "Access-Control-Expose-Headers",
    "Authorization",
    "Range",
    # What the clients of Upstash Redis send.
    "Upstash-Encoding",
    "Upstash-Sync-Token",
    "Upstash-Telemetry-Platform",
    "Upstash-Telemetry-Runtime",
    "Upstash-Telemetry-Sdk",
]


def new_app(
    service: str,
    description: str,
    lifespan: Lifespan,
    *,
    cors_origins: list[str],
    internal: bool = False,
    token: str | None = None,
    inner: Sequence[Middleware] = (),
    outer: Sequence[Middleware] = (),
    telemetry: TelemetryConfig | None = None,
    larger_bodies: Mapping[tuple[str, str], int] | None = None,
) -> FastAPI:
    """A FastAPI app with the house's errors, request ids, body cap (413) and CORS.

    `internal=True` puts `InternalOnly(token)` in front of everything but health; `inner` middleware
    stands behind request ids and CORS and `outer` in front of all, the first ones outermost; `larger_bodies`
    are bytes by method and path; `telemetry` is what FastAPI traces (`shared.tracing`).
    """
    # py_ecc, which eth-account imports, raises it to 100,000. So deep, C code that reads a body of `[[[[…`
    # runs over its stack, and the process is gone; at Python's own limit it raises `RecursionError`.
    sys.setrecursionlimit(RECURSION_LIMIT)
    app = FastAPI(
        title=service,
        description=description,
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry=telemetry or NO_TELEMETRY,
    )
    install_error_handlers(app)
    app.add_middleware(BodyLimit, limit_bytes=MAX_BODY_BYTES, larger=larger_bodies)
    if internal:
        app.add_middleware(InternalOnly, token=token, open_paths=(*HEALTH_PATHS, METRICS_PATH))
    for middleware in reversed(inner):
        app.add_middleware(middleware.cls, *middleware.args, **middleware.kwargs)
    app.add_middleware(UnexpectedErrors)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE", "OPTIONS"],
            allow_headers=ALLOWED_HEADERS,
            expose_headers=EXPOSED_HEADERS,
            allow_credentials=False,
        )
    app.add_middleware(RequestId)
    for middleware in reversed(outer):
        app.add_middleware(middleware.cls, *middleware.args, **middleware.kwargs)
    app.add_middleware(ReadableStartup)
    return app


def internal_headers(token: str | None) -> dict[str, str]:
    """What one of our services shows another (`InternalOnly`)."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def internal_client(base_url: str, token: str | None, timeout_s: float) -> httpx.AsyncClient:
    """A client for one of our own services: bounded, no redirects, no proxy from the environment."""
    return httpx.AsyncClient(
        base_url=base_url,
        headers=internal_headers(token),
        timeout=httpx.Timeout(timeout_s, connect=3.0),
        limits=httpx.Limits(max_connections=200, max_keepalive_connections=50),
        follow_redirects=False,
        trust_env=False,
        verify=trusted(),
    )
