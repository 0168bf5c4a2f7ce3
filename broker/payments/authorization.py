"""The payment a client sends, read strictly from its headers (payments.md §1, §5).

Nothing here touches the network; whatever is not exactly right is a 400 (431 when too large).
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from x402.http.constants import PAYMENT_SIGNATURE_HEADER, X_PAYMENT_HEADER

from shared.errors import BadRequest, GalaksioError

MAX_HEADER_BYTES = 16 * 1024
_UINT = re.compile(r"(?:0|[1-9][0-9]{0,77})", re.ASCII)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_NONCE = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_SIGNATURE = re.compile(r"0x[0-9a-fA-F]+", re.ASCII)
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)
PAYMENT_IDENTIFIER = "payment-identifier"
_KEY_SIGNATURE_CHARS = 2 + 2 * 65
_UINT256_END = 1 << 256


@dataclass(frozen=True)
class Authorization:
    """An EIP-3009 `TransferWithAuthorization`; addresses, nonce and signature in lower case.

    `value` is atomic units, `valid_after` and `valid_before` are Unix seconds.
    """

    payer: str
    pay_to: str
    value: int
    valid_after: int
    valid_before: int
    nonce: str
    signature: str

    def payload(self) -> dict[str, Any]:
        """The scheme payload of x402 `exact` on EVM, the same in v1 and v2."""
        return {
            "signature": self.signature,
            "authorization": {
                "from": self.payer,
                "to": self.pay_to,
                "value": str(self.value),
                "validAfter": str(self.valid_after),
                "validBefore": str(self.valid_before),
                "nonce": self.nonce,
            },
        }


@dataclass(frozen=True)
class Payment:
    """What the client claims to pay with. `accepted` is the v2 echo of our requirement, None in v1.

    `identifier` is the client's own idempotency key (the v2 extension `payment-identifier`).
    """

    version: Literal[1, 2]
    scheme: str
    network: str
    authorization: Authorization
    accepted: dict[str, Any] | None
    identifier: str | None = None


def _bad(message: str) -> BadRequest:
    return BadRequest(f"payment header: {message}", code="invalid_payment")


def read_payment(headers: list[tuple[bytes, bytes]]) -> Payment | None:
    """The payment in the raw ASGI `headers`, or None when there is none.

    Raises `BadRequest` for a malformed, doubled or contradictory one, and a 431 over 16 KB.
    """
    v1 = [value for name, value in headers if name.lower() == X_PAYMENT_HEADER.lower().encode()]
    v2 = [value for name, value in headers if name.lower() == PAYMENT_SIGNATURE_HEADER.lower().encode()]
    if not v1 and not v2:
        return None
    if len(v1) + len(v2) > 1:
        raise _bad("send exactly one of X-PAYMENT and PAYMENT-SIGNATURE")
    raw = (v1 or v2)[0]
    if len(raw) > MAX_HEADER_BYTES:
        raise GalaksioError("payment header over 16 KB", status=431, code="payment_header_too_large")
    data = _decode(raw, raw_json_allowed=bool(v1))
    version: Literal[1, 2] = 1 if v1 else 2
    if isinstance(data.get("x402Version"), bool) or data.get("x402Version") != version:
        raise _bad(f"x402Version must be {version} in this header")
    return _read_v1(data) if version == 1 else _read_v2(data)


def _decode(raw: bytes, *, raw_json_allowed: bool) -> dict[str, Any]:
    raw = raw.strip()
    try:
        text = raw if raw_json_allowed and raw.startswith(b"{") else base64.b64decode(raw, validate=True)
        data = json.loads(text)
    except (binascii.Error, ValueError, RecursionError):
        raise _bad("not base64 of a JSON object") from None
    if not isinstance(data, dict):
        raise _bad("not base64 of a JSON object")
    return data


def _read_v1(data: dict[str, Any]) -> Payment:
    return Payment(
        version=1,
        scheme=_text(data, "scheme"),
        network=_text(data, "network"),
        authorization=_read_authorization(data.get("payload")),
        accepted=None,
    )


def _read_v2(data: dict[str, Any]) -> Payment:
    accepted = data.get("accepted")
    if not isinstance(accepted, dict):
        raise _bad("accepted is missing")
    return Payment(
        version=2,
        scheme=_text(accepted, "scheme"),
        network=_text(accepted, "network"),
        authorization=_read_authorization(data.get("payload")),
        accepted=accepted,
        identifier=_identifier(data.get("extensions")),
    )


def _identifier(extensions: Any) -> str | None:
    """The `payment-identifier` a v2 client chose: 16 to 128 of letters, digits, `-` and `_`."""
    declared = extensions.get(PAYMENT_IDENTIFIER) if isinstance(extensions, dict) else None
    info = declared.get("info") if isinstance(declared, dict) else None
    value = info.get("id") if isinstance(info, dict) else None
    if value is None:
        return None
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise _bad("payment-identifier must be 16 to 128 letters, digits, '-' or '_'")
    return value


def _read_authorization(payload: Any) -> Authorization:
    if not isinstance(payload, dict):
        raise _bad("payload is missing")
    if "permit2Authorization" in payload:
        raise BadRequest(
            "Permit2 payments are not taken here: sign an EIP-3009 authorization", code="permit2_refused"
        )
    fields = payload.get("authorization")
    if not isinstance(fields, dict):
        raise _bad("payload.authorization is missing")
    return Authorization(
        payer=_matching(fields, "from", _ADDRESS),
        pay_to=_matching(fields, "to", _ADDRESS),
        value=_uint(fields, "value"),
        valid_after=_uint(fields, "validAfter"),
        valid_before=_uint(fields, "validBefore"),
        nonce=_matching(fields, "nonce", _NONCE),
        signature=_read_signature(payload),
    )


def _read_signature(payload: dict[str, Any]) -> str:
    signature = _matching(payload, "signature", _SIGNATURE)
    if len(signature) > _KEY_SIGNATURE_CHARS:
        raise BadRequest(
            "contract-wallet signatures (ERC-1271, ERC-6492) are not taken here: pay from a plain key",
            code="contract_signature_refused",
        )
    if len(signature) != _KEY_SIGNATURE_CHARS:
        raise _bad("signature must be 0x and 65 bytes of hex")
    return signature


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value or len(value) > 64:
        raise _bad(f"{name} is missing")
    return value


def _matching(fields: dict[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _bad(f"{name} is not what EIP-3009 asks for")
    return value.lower()


def _uint(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, str) or not _UINT.fullmatch(value) or int(value) >= _UINT256_END:
        raise _bad(f"{name} must be a decimal string")
    return int(value)
