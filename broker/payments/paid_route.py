"""Routes that are sold. The gate is ASGI middleware on the *matched* route, and the default is no.

The router calls `PaidRoute.handle` after matching, whatever the spelling of the path. The gate takes the
payment and has the work done; the endpoint itself only describes the route, and refuses if it is reached.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.payments.offers import request_hash
from broker.payments.operations import Operation, Work
from broker.storefront.accept import wants_html
from shared.errors import GalaksioError


@dataclass
class Call:
    """One request to a paid route, its body read. `route` is the path as declared, never as spelled."""

    operation: Operation
    route: str
    scope: Scope
    body: bytes
    _hash: str | None = None

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

    def hash(self, work: Work) -> str:
        """The request hash of what its body says."""
        if self._hash is None:
            self._hash = request_hash(self.method, self.route, work.meaning)
        return self._hash


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
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            return
        response = await gate.answer(Call(self.operation, self.path_format, scope, body))
        await response(scope, receive, send)

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
