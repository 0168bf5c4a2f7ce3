"""The operator's page, and its numbers: once, as server-sent events, over a WebSocket."""

from fastapi import APIRouter, Request, Response, WebSocket

from broker.dashboard.assets import assets, served
from broker.dashboard.guard import OperatorOnly
from broker.dashboard.opening import Dashboard
from broker.dashboard.schemas import PaidBack, RefundPaid, Stats
from broker.dashboard.streams import Events, metrics
from shared.errors import GalaksioError
from shared.openapi import Responses, refusals

router = APIRouter()
REFUSED: Responses = refusals(
    {
        401: "No operator token, or a wrong one",
        403: "A payer's session, which does not open this",
        503: "This broker has no OPERATOR_TOKEN, or cannot answer now",
    }
)
PAGE: Responses = {
    200: {"content": {"text/html": {}}, "description": "The page, without any data"},
    304: {"description": "The browser has it"},
}


@router.get("/dashboard", tags=["dashboard"], response_class=Response, responses=PAGE)
async def page(request: Request) -> Response:
    """The operator's page. It asks for the OPERATOR_TOKEN and keeps it until the browser's tab is closed."""
    return served(request, assets()["index.html"])


@router.get("/dashboard/{name:path}", include_in_schema=False)
async def asset(name: str, request: Request) -> Response:
    """A script or a style of the page."""
    found = assets().get(name)
    if found is None:
        raise GalaksioError("the page has no such file", status=404, code="not_found")
    return served(request, found)


@router.get("/api/dashboard/stats", tags=["dashboard"], response_model=Stats, responses=REFUSED)
async def stats(request: Request, _: OperatorOnly) -> Response:
    """All numbers of the page, at most a second old."""
    snapshot = await _dashboard(request).snapshots.latest()
    return Response(snapshot.text, media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get(
    "/api/dashboard/events",
    tags=["dashboard"],
    response_class=Response,
    responses={
        **REFUSED,
        200: {"content": {"text/event-stream": {}}, "description": "Events, once a second"},
    },
)
async def events(request: Request, _: OperatorOnly) -> Response:
    """Once a second `stats` with all numbers, and `job` for each job that is new or has changed."""
    return Events(_dashboard(request).beats)


@router.post(
    "/api/dashboard/refunds/{payment_id}",
    tags=["dashboard"],
    responses={
        **REFUSED,
        **refusals(
            {
                400: "The body is no JSON",
                404: "Nothing is owed for this payment",
                409: "Marked as paid by another transaction already",
                422: "No transaction hash, or the chain does not confirm it",
            }
        ),
    },
)
async def refund_paid(payment_id: str, paid: PaidBack, request: Request, _: OperatorOnly) -> RefundPaid:
    """Mark a refund as paid. Where the chain can be asked, it must have moved the amount to the payer."""
    return await _dashboard(request).refunds.paid(payment_id, paid.transaction)


@router.websocket("/ws/metrics")
async def metrics_socket(socket: WebSocket) -> None:
    """The numbers of `/api/dashboard/stats` once a second, for the operator's token."""
    await metrics(socket, socket.app.state.dashboard.beats, socket.app.state.limits)


def _dashboard(request: Request) -> Dashboard:
    dashboard: Dashboard = request.app.state.dashboard
    return dashboard
