"""Structured logs: one event a line, with the service, request and job id, never a body or a secret."""

import json
import logging
import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import structlog

from shared.clock import iso_now

_request_id: ContextVar[str] = ContextVar("request_id", default="")
_job_id: ContextVar[str] = ContextVar("job_id", default="")


class Access(NamedTuple):
    """One answered request. `route` is the path as declared, `ms` how long it took, `size_bytes` its body."""

    method: str
    route: str
    status: int
    ms: float
    size_bytes: int


_write_access: Callable[[Access, bool], None] | None = None


def request_id() -> str:
    """The id of the request being served in this task ("" outside of one)."""
    return _request_id.get()


def set_request_id(value: str) -> None:
    _request_id.set(value)


def set_job_id(value: str) -> None:
    """From now on this task, and the tasks that it starts, work on the job `value`."""
    _job_id.set(value)


def log_access(access: Access, *, quiet: bool = False) -> None:
    """Write the line of a request down: at `info`, or at `debug` where it is `quiet`.

    Nothing is written before `configure_logging`.
    """
    if _write_access is not None:
        _write_access(access, quiet)


def get_logger(name: str) -> Any:
    return structlog.get_logger(source=name)


def _add_ids(_: Any, __: str, event: Any) -> Any:
    if value := _request_id.get():
        event["request_id"] = value
    if value := _job_id.get():
        event.setdefault("job_id", value)
    return event


def configure_logging(service: str, level: str = "info", *, json_lines: bool | None = None) -> None:
    """Send structlog and stdlib logs to stderr, as JSON (default unless stderr is a terminal) or text."""
    if json_lines is None:
        json_lines = not sys.stderr.isatty()
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_ids,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer() if json_lines else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer]
        if json_lines
        else [*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service)
    _configure_access(service, number, json_lines)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for noisy in ("httpx", "httpcore", "alembic", "x402", "web3"):
        logging.getLogger(noisy).setLevel(max(number, logging.WARNING))
    logging.getLogger("uvicorn.error").addFilter(_no_chatter_of_sockets)


def _no_chatter_of_sockets(record: logging.LogRecord) -> bool:
    """Whether a line of uvicorn is to be written.

    Those of WebSockets show queries, headers and messages, where tokens are; `shared.observed` has its own.
    """
    return record.levelno >= logging.WARNING or f"{os.sep}websockets{os.sep}" not in record.pathname


def _configure_access(service: str, level: int, json_lines: bool) -> None:
    global _write_access  # noqa: PLW0603 - logging belongs to the process, as structlog's own settings do
    write = _access_as_json(service) if json_lines else _access_as_text

    def written(access: Access, quiet: bool) -> None:
        if level <= (logging.DEBUG if quiet else logging.INFO):
            write(access, "debug" if quiet else "info")

    _write_access = written


def _access_as_text(access: Access, level: str) -> None:
    fields = {**access._asdict(), "ms": round(access.ms, 3)}
    getattr(get_logger("access"), level)("request", **fields)


def _access_as_json(service: str) -> Callable[[Access, str], None]:
    """The line put together by hand: each request pays for it, and structlog takes five times as long.

    A request id is one that `shared.middleware` let pass; method, route and status are the server's words.
    """

    def write(access: Access, level: str) -> None:
        request, job = _request_id.get(), _job_id.get()
        ids = f', "request_id": "{request}"' if request else ""
        if job:  # on an executor it may be any text of its caller's
            ids += f', "job_id": {json.dumps(job)}'
        sys.stderr.write(
            f'{{"event": "request", "level": "{level}", "timestamp": "{iso_now()}", "service": "{service}", '
            f'"method": "{access.method}", "route": "{access.route}", "status": {access.status}, '
            f'"ms": {access.ms:.3f}, "size_bytes": {access.size_bytes}{ids}}}\n'
        )

    return write
