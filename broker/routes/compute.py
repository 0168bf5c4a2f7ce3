"""Paid compute: `POST /run` and its older name `POST /execute`."""

from typing import Any

from fastapi import APIRouter

from broker.operations import RUN
from broker.payments.paid_route import PaidRoute, not_for_free, sells
from broker.routes.schemas import PAID, PAYMENT_HEADERS, Completed, Instructed
from shared.jobs import RunRequest, RunResult
from shared.openapi import json_request, refusals

router = APIRouter(route_class=PaidRoute, tags=["compute"])

DESCRIBED: dict[str, Any] = {
    "responses": {
        **PAID,
        **refusals({422: "It cannot be run: a NUL byte, too long arguments, a file name that is taken"}),
    },
    "openapi_extra": {"parameters": PAYMENT_HEADERS, **json_request(RunRequest, RUN.example)},
}


@router.post("/execute", **DESCRIBED)
@router.post("/run", **DESCRIBED)
@sells(RUN)
async def run() -> Completed[RunResult] | Instructed:
    """Run a snippet in a fresh sandbox. Without a payment header: 402 with the price."""
    raise not_for_free()
