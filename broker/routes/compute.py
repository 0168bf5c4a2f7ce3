"""Paid compute: `POST /run` and its older name `POST /execute`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from broker.clients import ExecutorClient
from broker.payments.operations import RUN
from broker.payments.paid_route import Grant, PaidRoute, require_grant, sells
from broker.routes.schemas import ERRORS, PAYMENT_HEADERS, Completed
from shared.jobs import RunRequest, RunResult
from shared.money import atomic_to_usd

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


@router.post("/run", responses=ERRORS, openapi_extra=OPENAPI)
@router.post("/execute", responses=ERRORS, openapi_extra=OPENAPI)
@sells(RUN)
async def run(request: Request, grant: Annotated[Grant, Depends(require_grant)]) -> Completed[RunResult]:
    """Run a snippet in a fresh sandbox. Without a payment header: 402 with the price."""
    executor: ExecutorClient = request.app.state.executor
    work, offer = grant.work, grant.offer
    result = await executor.execute(grant.job_id, RUN.name, offer.provider, work.task, work.time_limit_s)
    return Completed(
        job_id=grant.job_id,
        provider=offer.provider,
        price_usd=atomic_to_usd(offer.price_atomic),
        result=RunResult.model_validate(result),
    )
