"""Start one service under uvicorn, and fail early in one sentence."""

import ctypes
import errno
import gc
import math
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from shared.errors import StartupError
from shared.logs import configure_logging
from shared.settings import CommonSettings, load_settings
from shared.startup import check_secrets

GRACE_S = 30
GRACE_AFTER_S = 5
"""For answering what was ended when its time was up."""
WS_MESSAGE_BYTES = 64 * 1024
"""The most that a WebSocket is told in one message: nobody needs more than a token's room."""


def check_port_free(host: str, port: int, setting: str) -> None:
    """Raise `StartupError` when `port` cannot be bound; `setting` is the name that moves it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                raise StartupError(
                    f"Port {port} is taken by another program: stop it (`lsof -i :{port}` names it) "
                    f"or set {setting}."
                ) from None
            raise StartupError(f"{host}:{port} cannot be listened on: {exc.strerror}.") from None


def fail(service: str, error: StartupError) -> SystemExit:
    """Print the sentence and return the exit to raise (`raise fail(...)`)."""
    sys.stderr.write(f"{service}: {error}\n")
    return SystemExit(1)


def run_module(
    service: str,
    settings_cls: type[CommonSettings],
    create_app: Callable[[Any], FastAPI],
    *,
    port_setting: str,
) -> None:
    """`python -m <service>`: read the settings (which have `host` and `port`), serve until SIGTERM or SIGINT.

    Running requests get `GRACE_S` seconds to finish, or the `drain_s` of the settings. What stands in the
    way is said in one sentence.
    """
    try:
        settings: Any = load_settings(settings_cls)
        configure_logging(service, settings.effective_log_level)
        check_secrets(settings)
        check_port_free(settings.host, settings.port, port_setting)
        app = _freezing(create_app(settings))
    except StartupError as exc:
        raise fail(service, exc) from None
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(getattr(settings, "drain_s", GRACE_S)) + GRACE_AFTER_S,
        proxy_headers=False,
        ws_max_size=WS_MESSAGE_BYTES,
    )


def lazy_app(
    service: str, settings_cls: type[CommonSettings], create_app: Callable[[Any], FastAPI]
) -> FastAPI:
    """Build the app for `uvicorn <service>.main:app`: settings are read now, not at import.

    A missing or wrong setting ends the process with one sentence instead of a traceback.
    """
    try:
        settings = load_settings(settings_cls)
        configure_logging(service, settings.effective_log_level)
        check_secrets(settings)
        return _freezing(create_app(settings))
    except StartupError as exc:
        raise fail(service, exc) from None


def _freezing(app: FastAPI) -> FastAPI:
    """`app`, which sets aside what its start has made: it lives as long as the process.

    The garbage collector would walk through all those modules again and again, in the middle of requests.
    What the start needed only for a while goes back to the system, a tenth of all that it took.
    """
    opened = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with opened(app) as state:
            gc.collect()
            gc.freeze()
            _trim()
            yield state

    app.router.lifespan_context = lifespan
    return app


def _trim() -> None:
    """Have the C library give back what it keeps of freed memory; only glibc can be told to."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
