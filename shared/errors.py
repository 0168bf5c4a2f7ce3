"""Errors that a caller may see, and the one place that turns them into JSON.

    GalaksioError                any answer that is not a success
    ├── BadRequest        400    the request is malformed; the same request will never work
    ├── Conflict          409    the id or authorization is in use for something else
    └── Unavailable       503    not now; retry after `retry_after_s`
    StartupError                 the service cannot start: one sentence, no traceback

Every body is the superset of what the five seed systems answered (features.md, X13):
`{error, success: false, message, detail, code, requestId}`.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from shared.logs import get_logger, request_id

log = get_logger(__name__)


class StartupError(Exception):
    """The service cannot start. The text is one sentence that says what to do."""


class GalaksioError(Exception):
    """An answer that is not a success.

    `status` is the HTTP status, `code` is stable and machine-readable, `message` is for people,
    `retryable` says whether the same request may work later. `extra` is merged into the JSON body.
    """

    status: int = 500
    code: str = "internal_error"
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status or self.status
        self.code = code or self.code
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(retry_after_s)

    def body(self) -> dict[str, Any]:
        return {**error_body(self.message, self.code), **self.extra}


class BadRequest(GalaksioError):
    status = 400
    code = "bad_request"


class Conflict(GalaksioError):
    status = 409
    code = "conflict"


class JobUndone(Conflict):
    """The job was taken back, because its payment was refused: nothing of it remains, nothing will come."""

    code = "job_undone"

    def __init__(self) -> None:
        super().__init__("this job was taken back and is not run again: send the request as a new job")


class Unavailable(GalaksioError):
    """A part we depend on does not answer. Nothing was charged."""

    status = 503
    code = "unavailable"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: int = 5, **kwargs: Any) -> None:
        super().__init__(message, retry_after_s=retry_after_s, **kwargs)


def error_body(message: str, code: str) -> dict[str, Any]:
    """The JSON of any error, as `api.md` (Everywhere) fixes it."""
    return {
        "error": message,
        "success": False,
        "message": message,
        "detail": message,
        "code": code,
        "requestId": request_id(),
    }


def error_response(error: GalaksioError) -> JSONResponse:
    return JSONResponse(error.body(), error.status, headers=error.headers)


_HTTP_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


def install_error_handlers(app: FastAPI) -> None:
    """Make every failure of `app` answer with the house's error body."""

    async def galaksio(_: Request, exc: GalaksioError) -> Response:
        return error_response(exc)

    async def http(_: Request, exc: HTTPException) -> Response:
        code = _HTTP_CODES.get(exc.status_code, f"http_{exc.status_code}")
        return JSONResponse(error_body(str(exc.detail), code), exc.status_code, headers=exc.headers)

    async def validation(_: Request, exc: RequestValidationError) -> Response:
        return JSONResponse(error_body(describe_validation(exc.errors()), "invalid_request"), 422)

    app.exception_handler(GalaksioError)(galaksio)
    app.exception_handler(HTTPException)(http)
    app.exception_handler(RequestValidationError)(validation)


class UnexpectedErrors:
    """ASGI middleware: an exception that nobody caught is logged and answered 500, without its text."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: Any) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception:
            if scope["type"] != "http" or started:
                raise
            log.exception("unexpected_error", path=scope.get("path"))
            body = error_body("Internal server error", "internal_error")
            await JSONResponse(body, 500)(scope, receive, send)


def describe_validation(errors: Any) -> str:
    """One sentence per wrong field, without echoing the caller's values back."""
    parts = []
    for error in list(errors)[:5]:
        where = ".".join(str(part) for part in error["loc"] if part != "body")
        message = str(error["msg"]).removeprefix("Value error, ")
        parts.append(f"{where}: {message}" if where else message)
    return "; ".join(parts) or "invalid request"
