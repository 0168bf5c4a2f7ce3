"""The servers that the quote service is measured with.

`uvicorn --factory benchmarks._quotes:bare` (or `sellers`, `executor`), from the root: in benchmarks/ the
program `quote.py` would hide the package. ANSWER_FILE is what the bare route answers; SELLERS is how many
providers are asked, at SELLER_URL.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

import quote.main
from quote.asks import RunAsk
from quote.comparisons import Comparison
from quote.providers.base import Context, Price, QuoteProvider
from quote.settings import QuoteSettings
from shared.quotes import Kind
from shared.settings import load_settings

ANSWER_S = 0.1
"""What a seller takes for an answer."""
PROVIDERS = {
    "providers": [
        {"kind": "compute", "name": "local", "status": "available", "languages": [{"name": "python"}]},
        *({"kind": "compute", "name": f"seller{number}", "status": "available"} for number in range(10)),
    ]
}


def bare() -> FastAPI:
    """A FastAPI route that reads the same JSON into the same model, and answers with the same model."""
    app = FastAPI()
    answer = Comparison.model_validate_json(Path(os.environ["ANSWER_FILE"]).read_bytes())

    @app.post("/quote/run")
    async def quote_run(ask: RunAsk) -> Comparison:
        return answer

    @app.get("/quote")
    async def quote_get(operation: str, size: int = 1024, language: str = "python") -> Comparison:
        return answer

    return app


class Seller:
    """A provider whose price comes over HTTP from somebody who takes his time, through the market."""

    kind: Kind = "compute"
    disabled: str | None = None

    def __init__(self, context: Context, number: int) -> None:
        self.name = f"seller{number}"
        self._context = context

    async def prices(self, ask: RunAsk) -> Sequence[Price]:
        async def fetch() -> dict[str, Any]:
            heard = await self._context.outside.ask("POST", os.environ["SELLER_URL"])
            found: dict[str, Any] = json.loads(heard.body)
            return found

        answer = await self._context.market.ask(self.name, str(ask.code_size_bytes), fetch)
        return [Price(answer["atomic"])]


def sellers() -> FastAPI:
    """The quote service with SELLERS of them in the place of its providers."""

    def find(context: Context) -> list[QuoteProvider]:
        return [Seller(context, number) for number in range(int(os.environ["SELLERS"]))]

    quote.main.find_providers = find
    return quote.main.create_app(load_settings(QuoteSettings))


def executor() -> Any:
    """The executor's `GET /providers` at once, and what a seller says, `ANSWER_S` later."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/seller":
            await asyncio.sleep(ANSWER_S)
        content = json.dumps({"atomic": 800} if scope["path"] == "/seller" else PROVIDERS).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app
