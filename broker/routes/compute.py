"""Paid compute: `POST /run` and its older name `POST /execute`."""

from typing import Any

from fastapi import APIRouter

from broker.operations import RUN
from broker.payments.paid_route import PaidRoute, not_for_free, sells
from broker.routes.schemas import ERRORS, PAYMENT_HEADERS, Completed
from shared.jobs import RunRequest, RunResult

router = APIRouter(route_class=PaidRoute, tags=["compute"])

OPENAPI: dict[str, Any] = {
    "parameters": PAYMENT_HEADERS,
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": RunRequest.model_json_schema(ref_template="#/components/schemas/{model}"),
                "example": RUN.example,
            }
        },
    },
}
# Nested definitions are published once, under components (see `broker.main`).
RUN_SCHEMAS: dict[str, Any] = OPENAPI["requestBody"]["content"]["application/json"]["schema"].pop("$defs", {})


@router.post("/execute", responses=ERRORS, openapi_extra=OPENAPI)
@router.post("/run", responses=ERRORS, openapi_extra=OPENAPI)
@sells(RUN)
async def run() -> Completed[RunResult]:
    """Run a snippet in a fresh sandbox. Without a payment header: 402 with the price."""
    raise not_for_free()
