"""What a cache answers whose operations are used up."""

from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from broker.addresses import public_address
from shared.errors import error_body


async def used_up(scope: Scope, cache_id: str) -> Response:
    """402, with the address where more operations are sold."""
    top_up = f"/cache/{cache_id}/topup"
    address = public_address(scope, scope["app"].state.settings.public_base_url)
    body = error_body(f"this cache has used up its operations: POST {top_up} buys more", "operations_used_up")
    return JSONResponse({**body, "topUpUrl": address + top_up}, 402, headers={"Cache-Control": "no-store"})
