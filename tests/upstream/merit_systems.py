"""A stand-in for merit-systems (providers.md): x402 v2; runs a snippet of Python, for real."""

import asyncio
import subprocess
import sys
import time
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from tests.upstream.shop import Shop

PATH = "/resource/e2b/execute"
TIMEOUT_S = 10


class MeritSystems(Shop):
    """`snippets` is all code that was paid for."""

    def __init__(self, devnet_url: str) -> None:
        super().__init__("merit-systems", 2, 2_500, devnet_url)
        self.snippets: list[str] = []
        self.app.post(PATH)(self._execute)

    async def _execute(self, request: Request) -> Response:
        body = await request.json() if await request.body() else {}
        snippet = body.get("snippet") if isinstance(body, dict) else None
        if not isinstance(snippet, str):
            return JSONResponse({"error": "snippet is required"}, 400)
        return await self.sell(request, lambda: self._run(snippet))

    async def _run(self, snippet: str) -> dict[str, Any]:
        self.snippets.append(snippet)
        began = time.monotonic()
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-I", "-c", snippet],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return {
            "output": done.stdout,
            "error": done.stderr or None,
            "executionTime": round((time.monotonic() - began) * 1000),
        }
