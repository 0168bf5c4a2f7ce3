"""Structured logs: one event a line, with the service and request id, never a body or a secret."""

import logging
import sys
from contextvars import ContextVar
from typing import Any

import structlog

_request_id: ContextVar[str] = ContextVar("request_id", default="")


def request_id() -> str:
    """The id of the request being served in this task ("" outside of one)."""
    return _request_id.get()


def set_request_id(value: str) -> None:
    _request_id.set(value)


def get_logger(name: str) -> Any:
    return structlog.get_logger(source=name)


def _add_request_id(_: Any, __: str, event: Any) -> Any:
    if value := _request_id.get():
        event["request_id"] = value
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
        _add_request_id,
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
