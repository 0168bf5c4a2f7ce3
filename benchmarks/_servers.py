"""The servers that the broker is measured against, and the neighbours that cost next to nothing.

`uvicorn --app-dir benchmarks _servers:bare` (or `packaged`, `bare_cache`, `uncounted`, `neighbours`).
NEIGHBOURS_URL says where the neighbours listen, REDIS_URL where Redis does.
"""

import hashlib
import json
import os
import secrets
import time
from importlib import import_module
from typing import Any

import httpx
from fastapi import FastAPI
from redis.asyncio import Redis
from starlette.types import Receive, Scope, Send
from x402.http import FacilitatorConfig, HTTPFacilitatorClient
from x402.http.middleware.fastapi import PaymentMiddlewareASGI
from x402.http.types import PaymentOption, RouteConfig
from x402.mechanisms.evm.exact import ExactEvmServerScheme
from x402.server import x402ResourceServer

from shared.caches import redis as redis_caches
from shared.caches.scripts import Script, script
from shared.jobs import RunRequest

NETWORK = "eip155:84532"
COUNTING = "local refused = admit(1)\nif refused then return refused end\n"
WALLET = "0x1212121212121212121212121212121212121212"
QUOTE = {
    "provider": "local",
    "kind": "compute",
    "price_usd": "0.0008",
    "price_atomic": 800,
    "network": "base-sepolia",
    "valid_until": "2100-01-01T00:00:00Z",
}
RESULT = {
    "stdout": "1\n",
    "stderr": "",
    "exitCode": 0,
    "executionTime": 1,
    "isolation": "none",
    "language": "python",
    "version": "3.13",
}


def bare() -> FastAPI:
    """A FastAPI route that reads the same JSON into the same model, and nothing else."""
    app = FastAPI()

    @app.post("/run")
    async def run(body: RunRequest) -> dict[str, str]:
        return {"language": body.language}

    return app


def packaged() -> FastAPI:
    """The same route sold by the `x402` package's own middleware; paid work goes to the executor."""
    neighbours = os.environ["NEIGHBOURS_URL"]
    executor = httpx.AsyncClient(base_url=neighbours, trust_env=False)
    server = x402ResourceServer(HTTPFacilitatorClient(FacilitatorConfig(url=neighbours)))
    server.register(NETWORK, ExactEvmServerScheme())
    option = PaymentOption(scheme="exact", pay_to=WALLET, price="$0.0058", network=NETWORK)
    route = RouteConfig(accepts=option, description="Run a snippet", mime_type="application/json")
    app = FastAPI()
    app.add_middleware(PaymentMiddlewareASGI, routes={"POST /run": route}, server=server)

    @app.post("/run")
    async def run(body: RunRequest) -> Any:
        task = body.model_dump(mode="json", exclude={"provider", "max_cost_usd"})
        return (await executor.post("/execute", json=task)).json()["result"]

    return app


def bare_cache() -> FastAPI:
    """A FastAPI route that does one GET of Redis, of a value that is JSON."""
    redis = Redis.from_url(os.environ["REDIS_URL"])
    app = FastAPI()

    @app.get("/cache/{key}")
    async def get(key: str) -> dict[str, Any]:
        return {"key": key, "value": json.loads(await redis.get(key))}

    return app


def uncounted() -> Any:
    """The broker, with a script for gets that does all but count."""
    counted = script("get").text
    text = counted.replace(COUNTING, "")
    if text == counted:
        raise RuntimeError("lua/get.lua counts in another way than it did")
    redis_caches._GET = Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    return import_module("broker.main").app


def neighbours() -> Any:
    """Quote, facilitator, executor and a node of the chain in one ASGI function that sees what it needs."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        content = json.dumps(_neighbour(scope["path"], body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


ANSWERS: dict[str, dict[str, Any]] = {
    "/execute": {"status": "completed", "result": RESULT},
    "/providers": {"providers": [], "count": 0},
    "/supported": {
        "kinds": [{"x402Version": 2, "scheme": "exact", "network": NETWORK}],
        "extensions": [],
        "signers": {},
    },
}


def _neighbour(path: str, body: bytes) -> dict[str, Any]:
    if path.startswith("/quote/"):
        return {"quotes": [QUOTE], "best": QUOTE, "count": 1}
    if path == "/verify":
        return {"isValid": True, "payer": _payer(body)}
    if path == "/settle":
        transaction = "0x" + secrets.token_hex(32)
        return {"success": True, "transaction": transaction, "network": NETWORK, "payer": _payer(body)}
    if path == "/":
        asked = json.loads(body or b"{}")
        return {"jsonrpc": "2.0", "id": asked.get("id"), "result": _of_the_chain(asked.get("method"))}
    return ANSWERS.get(path, {"status": "ok"})


def _of_the_chain(method: Any) -> Any:
    if method == "eth_getBlockByNumber":
        return {"number": "0x64", "hash": "0x" + "11" * 32, "timestamp": hex(int(time.time()))}
    return hex(84532) if method == "eth_chainId" else "0x64"


def _payer(body: bytes) -> str:
    return str(json.loads(body)["paymentPayload"]["payload"]["authorization"]["from"])
