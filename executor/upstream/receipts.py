"""What a provider's receipt says (payments.md §1). It is a claim: it never frees money, it only names it."""

import json
import re
from dataclasses import dataclass
from typing import Any

import httpx
from x402.http.constants import PAYMENT_RESPONSE_HEADER, X_PAYMENT_RESPONSE_HEADER
from x402.http.utils import safe_base64_decode

from executor.upstream.journal import Payment, State

_TRANSACTION = re.compile(r"0x[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Outcome:
    """What is to be written down about a payment that was answered."""

    state: State
    transaction: str | None
    reason: str | None


def outcome_of(payment: Payment, response: httpx.Response) -> Outcome:
    """Paid where the work came, or where the receipt tells of a settlement; unknown all else."""
    told = _told(response)
    settled = told.get("success") is True and _is_ours(told, payment)
    hash_ = told.get("transaction")
    transaction = hash_ if settled and isinstance(hash_, str) and _TRANSACTION.fullmatch(hash_) else None
    if response.is_success or settled:
        odd = bool(told) and transaction is None
        return Outcome("paid", transaction, "its receipt does not hold" if odd else None)
    return Outcome("unknown", None, f"it answered {response.status_code} to the payment")


def _told(response: httpx.Response) -> dict[str, Any]:
    header = response.headers.get(PAYMENT_RESPONSE_HEADER) or response.headers.get(X_PAYMENT_RESPONSE_HEADER)
    try:
        told = json.loads(safe_base64_decode(header)) if header else {}
    except (ValueError, RecursionError):
        return {"success": None}
    return told if isinstance(told, dict) else {"success": None}


def _is_ours(told: dict[str, Any], payment: Payment) -> bool:
    payer = told.get("payer")
    return payer is None or (isinstance(payer, str) and payer.lower() == payment.payer)
