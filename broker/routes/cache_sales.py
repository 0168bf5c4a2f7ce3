"""Paid caches: `POST /cache` for a new one, `POST /cache/{cacheId}/topup` for more operations."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from broker.operations import CACHE, TOP_UP, Operation
from broker.operations.cache import TOP_UP_ROUTE
from broker.payments.paid_route import PaidRoute, not_for_free, sells
from broker.routes.schemas import PAID, PAYMENT_HEADERS, Completed, Instructed
from shared.caches.wire import CacheCreated, CacheToppedUp
from shared.openapi import json_request, refusals

router = APIRouter(route_class=PaidRoute, tags=["cache"])


class NewCache(CacheCreated):
    """A cache and how to reach it. The token is told to the buyer and kept nowhere: it is derived."""

    endpoint: str = Field(description="For plain HTTP, and for clients of Upstash Redis")
    token: str
    provider: str


CACHE_ID = {
    "name": "cacheId",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
}


def _openapi(operation: Operation, *more: dict[str, Any], required: bool) -> dict[str, Any]:
    described = json_request(operation.input_schema, operation.example, required=required)
    return {"parameters": [*PAYMENT_HEADERS, *more], **described}


@router.post("/cache", responses=PAID, openapi_extra=_openapi(CACHE, required=True))
@sells(CACHE)
async def create() -> Completed[NewCache] | Instructed:
    """A new cache. Without a payment header: 402 with the price."""
    raise not_for_free()


@router.post(
    TOP_UP_ROUTE,
    responses={**PAID, **refusals({404: "No such cache, or it has expired"})},
    openapi_extra=_openapi(TOP_UP, CACHE_ID, required=False),
)
@sells(TOP_UP)
async def top_up() -> Completed[CacheToppedUp]:
    """More operations for a cache; whoever pays for them needs no token."""
    raise not_for_free()
