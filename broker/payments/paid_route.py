"""Routes that are sold. The gate is middleware on the *matched* route, and the default is no.

`PaidRoute.handle` is the only way to a paid endpoint, whatever the spelling of the path, and a paid
endpoint works only with the `Grant` that a gate puts into the scope. Reached in any other way, it
refuses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.payments.offers import Offer, request_hash
from broker.payments.operations import Operation, Work
from shared.errors import GalaksioError

GRANT = "galaksio.grant"
NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True)
class Grant:
    """Permission to do one piece of work, given by a gate and by nothing else."""

    job_id: str
    work: Work
    offer: Offer


@dataclass(frozen=True)
class Call:
    """One request to a paid route, its body read. `route` is the path as declared, never as spelled."""

    operation: Operation
    route: str
    app: ASGIApp
    scope: Scope
    body: bytes

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    @property
    def label(self) -> str | None:
        """The caller's own `x-wallet`: kept as a label, never believed (api.md)."""
        return Request(self.scope).headers.get("x-wallet", "")[:128] or None

    def hash(self, work: Work) -> str:
        return request_hash(self.method, self.route, work.meaning)

    async def perform(self, grant: Grant) -> Response:
        """Do the work: run the endpoint with `grant` and hold its answer back. Its headers stay here."""
        status, parts, retry_after = 500, [], None

        async def nothing_more() -> Message:
            return {"type": "http.disconnect"}

        async def hold(message: Message) -> None:
            nonlocal status, retry_after
            if message["type"] == "http.response.start":
                status = message["status"]
                retry_after = dict(message["headers"]).get(b"retry-after")
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        await self.app({**self.scope, GRANT: grant}, nothing_more, hold)
        headers = {"Retry-After": retry_after.decode()} if retry_after else {}
        return Response(
            b"".join(parts), status, media_type="application/json", headers={**headers, **NO_STORE}
        )


class Gate(Protocol):
    """Decides whether a call is worked on, and what is answered."""

    async def answer(self, call: Call) -> Response:
        """The complete answer to `call`."""


class PaidRoute(APIRoute):
    """A route whose endpoint was marked with `sells(operation)` and stands behind `app.state.gate`."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **kwargs: Any) -> None:
        self.operation = _operation_of(endpoint)
        super().__init__(path, endpoint, **kwargs)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        gate: Gate = scope["app"].state.gate
        body = await Request(scope, receive).body()
        response = await gate.answer(Call(self.operation, self.path_format, super().handle, scope, body))
        await response(scope, receive, send)


def sells(operation: Operation) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark an endpoint as the work behind `operation`."""

    def mark(endpoint: Callable[..., Any]) -> Callable[..., Any]:
        endpoint.operation = operation  # type: ignore[attr-defined]
        return endpoint

    return mark


def _operation_of(endpoint: Callable[..., Any]) -> Operation:
    operation = getattr(endpoint, "operation", None)
    if not isinstance(operation, Operation):
        raise TypeError(f"{endpoint.__name__} stands on a paid route but sells nothing: mark it with `sells`")
    return operation


def require_grant(request: Request) -> Grant:
    """The gate's permission. Without it a paid endpoint does nothing, however it was reached."""
    grant = request.scope.get(GRANT)
    if not isinstance(grant, Grant):
        raise GalaksioError("this work is not paid for", status=403, code="not_granted")
    return grant
