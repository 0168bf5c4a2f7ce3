"""The service card and the free price comparison."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from fastapi.responses import Response

from broker.accounts.accounts import Accounts
from broker.clients import QuoteClient
from broker.operations import CACHE, RUN, STORE, TOP_UP, Operation
from broker.storefront.storefront import Storefront
from shared import __version__
from shared.money import atomic_to_usd

router = APIRouter()
SOLD = (
    (RUN, ["POST /run", "POST /execute"]),
    (STORE, ["POST /store"]),
    (CACHE, ["POST /cache"]),
    (TOP_UP, ["POST /cache/{cacheId}/topup"]),
)
QUOTE_PATHS = ("run", "compute", "store", "cache", "best")


@router.get("/", tags=["service"])
async def card(request: Request) -> dict[str, Any]:
    """What is sold here, how it is paid, and where to read on."""
    settings = request.app.state.settings
    accounts: Accounts = request.app.state.accounts
    storefront: Storefront = request.app.state.storefront
    return {
        "service": "galaksio-broker",
        "version": __version__,
        "sells": await asyncio.gather(*(_sold(storefront, *one) for one in SOLD)),
        "payment": {
            "enabled": settings.x402_enabled,
            "protocol": "x402 (v1 and v2)",
            "network": settings.x402_network,
            "payTo": settings.wallet_address,
            "brokerFeeUsd": atomic_to_usd(settings.broker_fee_atomic),
            "receiptKey": accounts.key.address,
            **({} if settings.x402_enabled else {"warning": "payments are switched off: nothing is charged"}),
        },
        "links": {
            "docs": "/docs",
            "openapi": "/openapi.json",
            "health": "/health",
            "quote": "/quote",
            "discovery": "/.well-known/x402",
            "runtimes": "/runtimes",
            "payments": "/payments",
        },
    }


async def _sold(storefront: Storefront, operation: Operation, routes: list[str]) -> dict[str, Any]:
    return {
        "operation": operation.name,
        "routes": routes,
        "what": operation.description,
        "prices": await storefront.prices(operation),
    }


@router.get("/quote", tags=["quotes"])
async def quote_get(request: Request) -> Response:
    """Prices by query string, from the quote service: `?operation=run&size=large&timeout=10`."""
    quotes: QuoteClient = request.app.state.quotes
    answer = await quotes.forward("GET", "/quote", params=dict(request.query_params))
    return Response(answer.content, answer.status_code, media_type="application/json")


@router.post("/quote/{operation}", tags=["quotes"])
async def quote_post(
    operation: str, request: Request, body: Annotated[dict[str, Any], Body(default_factory=dict)]
) -> Response:
    """Prices of `run` (= `compute`), `store` or `cache`, or the `best` one, from the quote service."""
    quotes: QuoteClient = request.app.state.quotes
    if operation not in QUOTE_PATHS:
        return Response(status_code=404)
    answer = await quotes.forward("POST", f"/quote/{operation}", json=body)
    return Response(answer.content, answer.status_code, media_type="application/json")
