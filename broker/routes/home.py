"""The service card."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request

from broker.accounts.accounts import Accounts
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
            "providers": "/providers",
            "a2a": "/a2a/message",
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
