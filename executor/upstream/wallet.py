"""The key that the executor pays with, and what it signs (payments.md §1; EIP-3009, EIP-712)."""

import json
import secrets
from typing import Any

from eth_account import Account
from x402.http.constants import PAYMENT_SIGNATURE_HEADER, X_PAYMENT_HEADER
from x402.http.utils import safe_base64_encode

from executor.upstream.errors import UpstreamRefused
from executor.upstream.journal import Signed
from shared.challenges import SCHEME, Challenge, Wanted

MAX_VALID_S = 600
"""An authorization is good for this long at most, whatever a provider asks for."""
PAST_S = 600
"""How far the payer's clock may be ahead of the chain's."""
MAX_HEADER_BYTES = 16 * 1024
_TYPES = {
    "TransferWithAuthorization": [
        {"name": "from", "type": "address"},
        {"name": "to", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "validAfter", "type": "uint256"},
        {"name": "validBefore", "type": "uint256"},
        {"name": "nonce", "type": "bytes32"},
    ]
}


class Wallet:
    """Signs transfers of dollar tokens. `key` is 0x and 64 hex digits."""

    def __init__(self, key: str) -> None:
        self._account = Account.from_key(key)
        self.address = str(self._account.address)

    def sign(self, wanted: Wanted, challenge: Challenge, now_s: float) -> Signed:
        """An authorization for exactly what is wanted.

        The token's domain comes from the package's table, not from the challenge. Raises `UpstreamRefused`
        when the challenge is too long to be echoed in a header.
        """
        nonce = "0x" + secrets.token_hex(32)
        valid_before = int(now_s) + min(wanted.max_timeout_s, MAX_VALID_S)
        authorization = {
            "from": self.address,
            "to": wanted.pay_to,
            "value": str(wanted.amount),
            "validAfter": str(int(now_s) - PAST_S),
            "validBefore": str(valid_before),
            "nonce": nonce,
        }
        payload = {"signature": self._signature(wanted, authorization), "authorization": authorization}
        header = safe_base64_encode(json.dumps(_envelope(wanted, challenge, payload)))
        if len(header) > MAX_HEADER_BYTES:
            raise UpstreamRefused("The provider's 402 is too long to be paid.")
        return Signed(nonce, valid_before, header)

    def _signature(self, wanted: Wanted, authorization: dict[str, str]) -> str:
        domain = {
            "name": wanted.name,
            "version": wanted.version,
            "chainId": wanted.chain_id,
            "verifyingContract": wanted.asset,
        }
        numbers = {name: int(authorization[name]) for name in ("value", "validAfter", "validBefore")}
        message = {**authorization, **numbers, "to": wanted.pay_to.lower()}
        signed = self._account.sign_typed_data(domain, _TYPES, message)
        return "0x" + bytes(signed.signature).hex()


def payment_header(x402_version: int) -> str:
    """The header that carries a payment."""
    return X_PAYMENT_HEADER if x402_version == 1 else PAYMENT_SIGNATURE_HEADER


def _envelope(wanted: Wanted, challenge: Challenge, payload: dict[str, Any]) -> dict[str, Any]:
    if wanted.x402_version == 1:
        return {"x402Version": 1, "scheme": SCHEME, "network": wanted.entry["network"], "payload": payload}
    echoed = {
        name: challenge.document[name] for name in ("resource", "extensions") if challenge.document.get(name)
    }
    return {"x402Version": 2, "payload": payload, "accepted": wanted.entry, **echoed}
