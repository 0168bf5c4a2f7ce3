"""402 answers as other people's servers give them, in x402 v1 and v2."""

import base64
import json
from typing import Any

import httpx

USDC = {
    "eip155:8453": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
    "eip155:84532": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
}
MEGA_USD = "0xFAfDdbb3FC7688494971a79cc65DCa3EF82079E7"
"""18 decimals, on eip155:4326."""
PAY_TO = "0x" + "ab" * 20
V1_NAMES = {"eip155:8453": "base", "eip155:84532": "base-sepolia", "eip155:4326": "megaeth"}


def v1_entry(amount: str = "10000", network: str = "eip155:8453", **more: Any) -> dict[str, Any]:
    """An entry of a v1 `accepts`; `network` is CAIP-2 here and spelt as v1 spells it."""
    return {
        "scheme": "exact",
        "network": V1_NAMES[network],
        "maxAmountRequired": amount,
        "resource": "https://seller.test/work",
        "description": "work",
        "mimeType": "application/json",
        "payTo": PAY_TO,
        "maxTimeoutSeconds": 60,
        "asset": USDC.get(network, MEGA_USD),
        "extra": {"name": "USD Coin", "version": "2"},
        **more,
    }


def v2_entry(amount: str = "10000", network: str = "eip155:8453", **more: Any) -> dict[str, Any]:
    return {
        "scheme": "exact",
        "network": network,
        "amount": amount,
        "payTo": PAY_TO,
        "maxTimeoutSeconds": 60,
        "asset": USDC.get(network, MEGA_USD),
        "extra": {"name": "USD Coin", "version": "2"},
        **more,
    }


def v1_body(*entries: Any) -> bytes:
    return json.dumps({"x402Version": 1, "error": "pay", "accepts": list(entries)}).encode()


def v2_headers(*entries: Any) -> dict[str, str]:
    told = {"x402Version": 2, "resource": {"url": "https://seller.test/work"}, "accepts": list(entries)}
    return {"PAYMENT-REQUIRED": base64.b64encode(json.dumps(told).encode()).decode()}


def v1(*entries: Any) -> httpx.Response:
    return httpx.Response(402, content=v1_body(*entries), headers={"Content-Type": "application/json"})


def v2(*entries: Any) -> httpx.Response:
    return httpx.Response(402, content=b"{}", headers=v2_headers(*entries))
