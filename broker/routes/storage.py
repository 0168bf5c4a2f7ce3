"""Paid storage: `POST /store`, JSON or multipart."""

from typing import Any

from fastapi import APIRouter

from broker.operations import STORE
from broker.payments.paid_route import PaidRoute, not_for_free, sells
from broker.routes.schemas import ERRORS, PAYMENT_HEADERS, Completed
from shared.store import StoreResult

router = APIRouter(route_class=PaidRoute, tags=["storage"])

OPENAPI: dict[str, Any] = {
    "parameters": PAYMENT_HEADERS,
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": STORE.input_schema, "example": STORE.example},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "permanent": {"type": "boolean", "default": False},
                        "ttl": {"type": "integer", "minimum": 1, "default": 3600},
                        "file": {"type": "string", "format": "binary"},
                    },
                    "required": ["file"],
                }
            },
        },
    },
}


@router.post("/store", responses=ERRORS, openapi_extra=OPENAPI)
@sells(STORE)
async def store() -> Completed[StoreResult]:
    """Keep content under its IPFS content id. Without a payment header: 402 with the price.

    Of a multipart body the options come best before the file: the price is then told before the file is sent.
    """
    raise not_for_free()
