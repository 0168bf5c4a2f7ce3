"""What we ask for: the one 402 that v1 and v2 clients can both pay (payments.md §1)."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from starlette.responses import JSONResponse, Response
from x402.http.constants import PAYMENT_REQUIRED_HEADER, PAYMENT_RESPONSE_HEADER, X_PAYMENT_RESPONSE_HEADER
from x402.http.utils import encode_payment_required_header, encode_payment_response_header
from x402.schemas import PaymentRequired, PaymentRequirements, ResourceInfo, SettleResponse
from x402.schemas.v1 import PaymentRequirementsV1

from broker.operations import Operation
from broker.payments.authorization import PAYMENT_IDENTIFIER
from broker.payments.offers import Offer
from broker.storefront.page import Sale, payment_page
from shared.errors import BadRequest, error_body
from shared.networks import Network

SCHEME = "exact"


@dataclass(frozen=True)
class Terms:
    """How this broker wants to be paid. `pay_to` is the host's wallet."""

    network: Network
    pay_to: str

    def v1(self, offer: Offer, resource: str, description: str) -> PaymentRequirementsV1:
        """The requirement in v1 spelling: no nulls, absolute resource, amount as a string."""
        return PaymentRequirementsV1(
            scheme=SCHEME,
            network=self.network.name,
            max_amount_required=str(offer.price_atomic),
            resource=resource,
            description=description,
            mime_type="application/json",
            pay_to=self.pay_to,
            max_timeout_seconds=offer.max_timeout_s,
            asset=self.network.asset,
            extra={"name": self.network.domain_name, "version": self.network.domain_version},
        )

    def v2(self, offer: Offer) -> PaymentRequirements:
        """The requirement in v2 spelling; `extra` lets the client echo which offer it accepts."""
        return _v2(self, offer.id, offer.request_hash, offer.price_atomic, offer.max_timeout_s)[0]

    def v2_fields(self, offer: Offer) -> dict[str, Any]:
        """The same as it is sent, to be read only: it is made once for each offer."""
        return _v2(self, offer.id, offer.request_hash, offer.price_atomic, offer.max_timeout_s)[1]

    def check_echo(self, accepted: dict[str, Any], offer: Offer) -> None:
        """Raise `BadRequest` when a v2 client's `accepted` is not the requirement we made."""
        ours = self.v2_fields(offer)
        wrong = [
            name
            for name in ("scheme", "network", "asset", "amount", "payTo", "maxTimeoutSeconds")
            if _plain(accepted.get(name)) != _plain(ours[name])
        ]
        raw_extra = accepted.get("extra")
        extra: dict[str, Any] = raw_extra if isinstance(raw_extra, dict) else {}
        wrong += [f"extra.{name}" for name, value in ours["extra"].items() if extra.get(name, value) != value]
        if wrong:
            raise BadRequest(
                f"payment header: accepted differs from the offer in {', '.join(wrong)}",
                code="accepted_mismatch",
            )


@lru_cache(maxsize=4096)
def _v2(
    terms: Terms, offer_id: str, request_hash: str, price_atomic: int, max_timeout_s: int
) -> tuple[PaymentRequirements, dict[str, Any]]:
    network = terms.network
    required = PaymentRequirements(
        scheme=SCHEME,
        network=network.caip2,
        asset=network.asset,
        amount=str(price_atomic),
        pay_to=terms.pay_to,
        max_timeout_seconds=max_timeout_s,
        extra={
            "name": network.domain_name,
            "version": network.domain_version,
            "quoteId": offer_id,
            "requestHash": request_hash,
        },
    )
    return required, required.model_dump(by_alias=True)


def _plain(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def challenge(
    terms: Terms,
    offer: Offer,
    operation: Operation,
    resource: str,
    *,
    error: str,
    code: str = "payment_required",
    headers: dict[str, str] | None = None,
    with_schema: bool = False,
    html: bool = False,
) -> Response:
    """The 402: v1 in the body, v2 in the header. `resource` is the absolute address of what is sold.

    `with_schema` adds what the operation takes as input, for crawlers that sent nothing; `html` makes the
    body a page for people (the header stays).
    """
    v1 = terms.v1(offer, resource, operation.description).model_dump(by_alias=True, exclude_none=True)
    required = PaymentRequired(
        error=error,
        resource=ResourceInfo(url=resource, description=operation.description, mime_type="application/json"),
        accepts=[terms.v2(offer)],
        extensions={**IDENTIFIER_EXTENSION, **(_bazaar(operation) if with_schema else {})},
    )
    v2_header = {PAYMENT_REQUIRED_HEADER: encode_payment_required_header(required)}
    all_headers = {**v2_header, "Cache-Control": "no-store", "Vary": "Accept", **(headers or {})}
    if html:
        note = None if code == "payment_required" else error
        sale = Sale(operation, resource, terms.network, terms.pay_to, offer.price_atomic, with_schema, note)
        return payment_page(sale, all_headers)
    body = {**error_body(error, code), "x402Version": 1, "accepts": [v1]}
    if with_schema:
        body |= {"inputSchema": operation.input_schema, "example": operation.example}
    return JSONResponse(body, 402, headers=all_headers)


IDENTIFIER_EXTENSION: dict[str, Any] = {
    PAYMENT_IDENTIFIER: {
        "info": {"required": False},
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "required": {"type": "boolean"},
                "id": {
                    "type": "string",
                    "minLength": 16,
                    "maxLength": 128,
                    "pattern": "^[a-zA-Z0-9_-]+$",
                },
            },
            "required": ["required"],
        },
    }
}
"""A v2 client may name an idempotency key of its own (x402 extension `payment-identifier`)."""


def _bazaar(operation: Operation) -> dict[str, Any]:
    """The x402 bazaar extension: how to call this route (x402 specs/extensions/bazaar.md).

    Written out here because the package's builder needs jsonschema, which nothing else does.
    """
    call = {"type": "http", "method": "POST", "bodyType": "json"}
    constants = {name: {"type": "string", "const": value} for name, value in call.items()}
    body_schema = {"type": "object", **operation.discovery_schema}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "input": {
                "type": "object",
                "properties": {**constants, "body": body_schema},
                "required": [*call, "body"],
                "additionalProperties": False,
            }
        },
        "required": ["input"],
    }
    return {"bazaar": {"info": {"input": {**call, "body": operation.example}}, "schema": schema}}


def receipt_header(version: int, network: Network, **fields: Any) -> dict[str, str]:
    """The settlement receipt in the header that a client of `version` reads."""
    name = X_PAYMENT_RESPONSE_HEADER if version == 1 else PAYMENT_RESPONSE_HEADER
    spelled = network.name if version == 1 else network.caip2
    return {name: encode_payment_response_header(SettleResponse(network=spelled, **fields))}
