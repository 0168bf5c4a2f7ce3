"""The payment in a message, as the header that the gate reads."""

import base64
import binascii
import json
from typing import Any

from x402.http.constants import PAYMENT_SIGNATURE_HEADER, X_PAYMENT_HEADER

from broker.payments.authorization import MAX_HEADER_BYTES
from shared.errors import BadRequest, GalaksioError

_HEADERS = {1: X_PAYMENT_HEADER.lower().encode(), 2: PAYMENT_SIGNATURE_HEADER.lower().encode()}


def payment_header(given: Any) -> tuple[bytes, bytes]:
    """`given` is a payment as an object, its JSON, or base64 of that; v1 or v2 by its own `x402Version`.

    Raises `BadRequest` for what is no payment, and a 431 over 16 KB, as of the header. Everything else about
    it is for the gate to judge.
    """
    payment = _decoded(given) if isinstance(given, str) else given
    version = payment.get("x402Version") if isinstance(payment, dict) else None
    if version not in (1, 2):
        raise BadRequest("the payment must be an object with x402Version 1 or 2", code="invalid_payment")
    value = base64.b64encode(json.dumps(payment, separators=(",", ":")).encode())
    if len(value) > MAX_HEADER_BYTES:
        raise GalaksioError("the payment is over 16 KB", status=431, code="payment_header_too_large")
    return _HEADERS[int(version)], value


def _decoded(text: str) -> Any:
    try:
        raw = text.strip()
        return json.loads(raw if raw.startswith("{") else base64.b64decode(raw, validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise BadRequest("the payment is not JSON, or base64 of JSON", code="invalid_payment") from None
