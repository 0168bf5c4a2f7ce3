"""A wallet that pays a broker with the `x402` package's own client."""

import asyncio

from eth_account import Account
from x402 import x402Client
from x402.http.utils import decode_payment_required_header, encode_payment_signature_header
from x402.mechanisms.evm.exact.register import register_exact_evm_client

REQUIRED, SIGNATURE = "PAYMENT-REQUIRED", "PAYMENT-SIGNATURE"


class Payer:
    """Signs payments ahead of the measurement."""

    def __init__(self) -> None:
        self._client = x402Client()
        register_exact_evm_client(self._client, Account.create())

    def headers(self, required: str, count: int = 1) -> list[dict[str, str]]:
        """`count` headers that pay what a 402 asks (`REQUIRED`), each with an authorization of its own."""
        asked = decode_payment_required_header(required)

        async def sign() -> list[str]:
            payloads = [await self._client.create_payment_payload(asked) for _ in range(count)]
            return [encode_payment_signature_header(payload) for payload in payloads]

        return [{SIGNATURE: header} for header in asyncio.run(sign())]
