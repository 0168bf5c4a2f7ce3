"""Routes that are sold. The gate is ASGI middleware on the *matched* route, and the default is no.

The router calls `PaidRoute.handle` after matching, whatever the spelling of the path. The gate takes the
payment and has the work done; the endpoint itself only describes the route, and refuses if it is reached.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.operations import Operation, Work
from broker.payments.offers import request_hash
from broker.storefront.accept import wants_html
from broker.uploads import Upload, is_multipart
from shared.errors import GalaksioError
from shared.http import MAX_BODY_BYTES
from shared.middleware import body_too_large, header

PAYMENT_REQUIRED = "payment_required"


@dataclass
class Call:
    """One request to a paid route. `route` is the path as declared, never as spelled.

    Its `body` was read, or is an `upload` that is read while it is worked on. `why` says what a payment is
    asked for, to people and to programs.
    """

    operation: Operation
    route: str
    scope: Scope
    body: bytes
    upload: Upload | None = None
    why: tuple[str, str] = ("payment required", PAYMENT_REQUIRED)
    _hashes: dict[str, str] = field(default_factory=dict)

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    @property
    def headers(self) -> Headers:
        return Headers(scope=self.scope)

    @property
    def label(self) -> str | None:
        """The caller's own `x-wallet`: kept as a label, never believed (api.md)."""
        return self.headers.get("x-wallet", "")[:128] or None

    @property
    def wants_html(self) -> bool:
        """A browser asks: a 402 is answered as a page."""
        return wants_html(self.scope["headers"])

    @property
    def params(self) -> dict[str, str]:
        return dict(self.scope.get("path_params", {}))

    @property
    def path(self) -> str:
        """The route with what its path says filled in."""
        return self.route.format(**self.params) if "{" in self.route else self.route

    def hash(self, work: Work) -> str:
        """The request hash of what its body says."""
        return self._hashed("meaning", work.meaning)

    def offer_hash(self, work: Work) -> str:
        """What the offer for it is kept under: for an upload, without the content."""
        return self.hash(work) if work.priced is None else self._hashed("priced", work.priced)

    def _hashed(self, name: str, what: dict[str, Any]) -> str:
        if name not in self._hashes:
            self._hashes[name] = request_hash(self.method, self.route, what)
        return self._hashes[name]


class Gate(Protocol):
    """Decides whether a call is worked on, and what is answered."""

    async def answer(self, call: Call) -> Response:
        """The complete answer to `call`."""


class Shop(Protocol):
    """Shows what is sold, and has nothing to run it with."""

    async def page(self, operation: Operation, method: str, route: str, scope: Scope) -> Response | None:
        """The 402 of `route` as a page; None where nothing is charged."""


class PaidRoute(APIRoute):
    """A route that is answered by `app.state.gate` alone; its endpoint describes it and does nothing."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **kwargs: Any) -> None:
        self.operation = _operation_of(endpoint)
        super().__init__(path, endpoint, **kwargs)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            await self._look(scope, receive, send)
            return
        gate: Gate = scope["app"].state.gate
        try:
            response = await gate.answer(await self._call(scope, receive))
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _call(self, scope: Scope, receive: Receive) -> Call:
        content_type = header(scope, b"content-type")
        if self.operation.uploaded is None or not is_multipart(content_type):
            return Call(self.operation, self.path_format, scope, await _body(receive))
        declared = header(scope, b"content-length")
        length = int(declared) if declared.isdigit() else None
        upload = Upload(receive, content_type.decode("latin-1"), length)
        return Call(self.operation, self.path_format, scope, b"", upload)

    async def _look(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Another method: 405, but a browser that opens the address sees what is sold. Nothing can run."""
        page = None
        if scope["method"] == "GET" and wants_html(scope["headers"]):
            shop: Shop = scope["app"].state.storefront
            page = await shop.page(self.operation, min(self.methods or ()), self.path_format, scope)
        if page is None:
            await super().handle(scope, receive, send)
        else:
            await page(scope, receive, send)


async def _body(receive: Receive) -> bytes:
    """A body that is held in memory; where uploads may be larger, this may not."""
    parts, size_bytes, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size_bytes += len(part)
        if size_bytes > MAX_BODY_BYTES:
            raise body_too_large(MAX_BODY_BYTES)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def sells(operation: Operation) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark an endpoint as the description of `operation`."""

    def mark(endpoint: Callable[..., Any]) -> Callable[..., Any]:
        endpoint.operation = operation  # type: ignore[attr-defined]
        return endpoint

    return mark


def _operation_of(endpoint: Callable[..., Any]) -> Operation:
    operation = getattr(endpoint, "operation", None)
    if not isinstance(operation, Operation):
        raise TypeError(f"{endpoint.__name__} stands on a paid route but sells nothing: mark it with `sells`")
    return operation


def not_for_free() -> GalaksioError:
    """What a paid endpoint answers when it is reached past the gate."""
    return GalaksioError("this work is not paid for", status=403, code="not_granted")
