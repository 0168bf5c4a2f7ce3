"""Paid caches: `POST /cache` for a new one, `POST /cache/{cacheId}/topup` for more operations."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from broker.operations import CACHE, TOP_UP, Operation
from broker.operations.cache import TOP_UP_ROUTE
from broker.payments.paid_route import PaidRoute, not_for_free, sells
from broker.routes.schemas import ERRORS, PAYMENT_HEADERS, Completed, ErrorBody
from shared.caches.wire import CacheCreated, CacheToppedUp

router = APIRouter(route_class=PaidRoute, tags=["cache"])


class NewCache(CacheCreated):
    """A cache and how to reach it. The token is told to the buyer and kept nowhere: it is derived."""

    endpoint: str = Field(description="For plain HTTP, and for clients of Upstash Redis")
    token: str
    provider: str


def _openapi(operation: Operation, *, required: bool) -> dict[str, Any]:
    content = {"application/json": {"schema": operation.input_schema, "example": operation.example}}
    return {"parameters": PAYMENT_HEADERS, "requestBody": {"required": required, "content": content}}


@router.post("/cache", responses=ERRORS, openapi_extra=_openapi(CACHE, required=True))
@sells(CACHE)
async def create() -> Completed[NewCache]:
    """A new cache. Without a payment header: 402 with the price."""
    raise not_for_free()


@router.post(
    TOP_UP_ROUTE,
    responses={**ERRORS, 404: {"model": ErrorBody, "description": "No such cache, or it has expired"}},
    openapi_extra=_openapi(TOP_UP, required=False),
)
@sells(TOP_UP)
async def top_up(cacheId: str) -> Completed[CacheToppedUp]:
    """More operations for a cache; whoever pays for them needs no token."""
    raise not_for_free()
