"""Run by the tests under another Python environment: pays with the old `x402` package (v1 only).

Usage: python v1_client.py BASE_URL PATH KEY BODY_JSON; prints {status, body, receipt} as JSON.
"""

import asyncio
import json
import sys

from eth_account import Account
from x402.clients.base import decode_x_payment_response
from x402.clients.httpx import x402HttpxClient


async def main(base_url: str, path: str, key: str, body: str) -> None:
    async with x402HttpxClient(account=Account.from_key(key), base_url=base_url, timeout=50) as client:
        response = await client.post(path, json=json.loads(body))
        content = await response.aread()
    header = response.headers.get("X-PAYMENT-RESPONSE")
    answer = {
        "status": response.status_code,
        "body": json.loads(content),
        "receipt": decode_x_payment_response(header) if header else None,
    }
    sys.stdout.write(json.dumps(answer))


asyncio.run(main(*sys.argv[1:]))
