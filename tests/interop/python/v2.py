"""Run under the newest client's own environment: pays for one POST with `x402` 2 (protocol v2).

Usage: python v2.py httpx|requests URL KEY BODY_JSON; prints {client, status, headers, body} as JSON.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from importlib.metadata import version

from eth_account import Account
from x402 import x402Client, x402ClientSync
from x402.http.clients import x402_requests, x402HttpxClient
from x402.mechanisms.evm.exact.register import register_exact_evm_client


async def with_httpx(url: str, key: str, body: object) -> tuple[int, Mapping[str, str], bytes]:
    payer = x402Client()
    register_exact_evm_client(payer, Account.from_key(key))
    async with x402HttpxClient(payer, timeout=60) as client:
        response = await client.post(url, json=body)
        return response.status_code, response.headers, await response.aread()


def with_requests(url: str, key: str, body: object) -> tuple[int, Mapping[str, str], bytes]:
    payer = x402ClientSync()
    register_exact_evm_client(payer, Account.from_key(key))
    with x402_requests(payer) as session:
        response = session.post(url, json=body, timeout=60)
        return response.status_code, response.headers, response.content


def main(library: str, url: str, key: str, body: str) -> None:
    asked = json.loads(body)
    if library == "httpx":
        status, headers, content = asyncio.run(with_httpx(url, key, asked))
    else:
        status, headers, content = with_requests(url, key, asked)
    answer = {
        "client": version("x402"),
        "status": status,
        "headers": {name.lower(): value for name, value in headers.items()},
        "body": json.loads(content),
    }
    sys.stdout.write(json.dumps(answer))


main(*sys.argv[1:])
