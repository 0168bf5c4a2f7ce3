"""Paid storage: `POST /store`, JSON or multipart."""

from typing import Any

from fastapi import APIRouter

from broker.operations import STORE
from broker.payments.paid_route import PaidRoute, not_for_free, sells
from broker.routes.schemas import PAID, PAYMENT_HEADERS, Completed, Instructed
from shared.openapi import json_request, refusals
from shared.store import StoreResult

router = APIRouter(route_class=PaidRoute, tags=["storage"])

UPLOAD = {
    "schema": {
        "type": "object",
        "properties": {
            "permanent": {"type": "boolean", "default": False},
            "ttl": {"type": "integer", "minimum": 1, "default": 3600, "description": "Seconds"},
            "provider": {"type": "string"},
            "maxCostUsd": {"type": "number"},
            "file": {"type": "string", "format": "binary", "description": "Up to MAX_UPLOAD_MB"},
        },
        "required": ["file"],
    }
}


def _openapi() -> dict[str, Any]:
    described = json_request(STORE.input_schema, STORE.example)
    described["requestBody"]["content"]["multipart/form-data"] = UPLOAD
    return {"parameters": PAYMENT_HEADERS, **described}


@router.post(
    "/store",
    responses={
        **PAID,
        **refusals(
            {
                408: "The upload came too slowly",
                422: "A text that is none, or an address whose content cannot be had",
                507: "There is no room for it here now",
            }
        ),
    },
    openapi_extra=_openapi(),
)
@sells(STORE)
async def store() -> Completed[StoreResult] | Instructed:
    """Keep content under its IPFS content id. Without a payment header: 402 with the price.

    Of a multipart body the options come best before the file: the price is then told before the file is sent.
    """
    raise not_for_free()
