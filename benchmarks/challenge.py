"""402 challenges of the broker against a bare FastAPI route that reads the same JSON, in one process.

Prints the ratio of the rates. Both answer over ASGI without sockets, one request at a time; quote is a
stand-in that answers at once, and the offer is known after the first request.
`python benchmarks/challenge.py [REQUESTS]`.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from broker.main import create_app
from broker.settings import BrokerSettings
from shared.jobs import RunRequest
from shared.quotes import Quote, QuoteList

QUOTE = Quote(
    provider="local",
    kind="compute",
    price_usd="0.0008",
    price_atomic=800,
    network="base-sepolia",
    valid_until="2030-01-01T00:00:00Z",
)


class Market:
    """A quote service that needs no time."""

    async def compare(self, path: str, ask: dict[str, Any]) -> QuoteList:
        return QuoteList(quotes=[QUOTE], best=QUOTE, count=1)


async def rate(app: FastAPI, requests: int, expected: int) -> float:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        body = {"code": "print(1)"}
        if (await client.post("/run", json=body)).status_code != expected:
            sys.exit("the route does not answer as expected")
        began = time.perf_counter()
        for _ in range(requests):
            await client.post("/run", json=body)
        return requests / (time.perf_counter() - began)


async def main(requests: int) -> None:
    bare = FastAPI()

    @bare.post("/run")
    async def run(body: RunRequest) -> dict[str, str]:
        return {"language": body.language}

    with tempfile.TemporaryDirectory() as folder:
        settings = BrokerSettings(galaksio_home=Path(folder), wallet_address="0x" + "12" * 20)
        broker = create_app(settings)
        async with broker.router.lifespan_context(broker):
            broker.state.gate._pricing._quotes = Market()
            ratios = []
            for _ in range(5):
                plain = await rate(bare, requests, 200)
                ratios.append(await rate(broker, requests, 402) / plain)
    print(f"402 challenges / bare FastAPI route: {sorted(ratios)[2]:.2f} (median of 5 × {requests} requests)")


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 400))
