"""Run under an old client's own environment: pays for one POST with `x402` 0.2 or 1.0 (protocol v1).

Usage: python v1.py httpx|requests URL KEY BODY_JSON; prints {client, status, headers, body} as JSON.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from importlib.metadata import version

from eth_account import Account
from x402.clients.httpx import x402HttpxClient
from x402.clients.requests import x402_requests


async def with_httpx(url: str, key: str, body: object) -> tuple[int, Mapping[str, str], bytes]:
    async with x402HttpxClient(account=Account.from_key(key), timeout=50) as client:
        response = await client.post(url, json=body)
        return response.status_code, response.headers, await response.aread()


def with_requests(url: str, key: str, body: object) -> tuple[int, Mapping[str, str], bytes]:
    response = x402_requests(Account.from_key(key)).post(url, json=body, timeout=60)
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
