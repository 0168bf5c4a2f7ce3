"""`GET /.well-known/x402`: what is sold here, for crawlers."""

from typing import Any

from fastapi import APIRouter, Request, Response

from broker.storefront.storefront import Storefront

router = APIRouter(tags=["service"])
MAX_AGE_S = 60


@router.get("/.well-known/x402")
@router.get("/.well-known/x402.json", include_in_schema=False)
async def discovery(request: Request, response: Response) -> dict[str, Any]:
    """The paid resources with their starting prices, and the key that signs receipts."""
    storefront: Storefront = request.app.state.storefront
    response.headers["Cache-Control"] = f"public, max-age={MAX_AGE_S}"
    return await storefront.document(request.scope)
