"""The real broker with its caches on a real Valkey, asked in process."""

import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import JSONResponse, Response

from broker.main import create_app
from broker.operations import TOP_UP
from broker.payments.paid_route import Call
from broker.settings import BrokerSettings
from shared.settings import load_settings


def settings(home: Path, redis_url: str | None, **more: str) -> BrokerSettings:
    values = {"X402_ENABLED": "false", "GALAKSIO_HOME": str(home), "RATE_LIMIT_PER_IP": "1000/minute", **more}
    return load_settings(BrokerSettings, values | ({"REDIS_URL": redis_url} if redis_url else {}))


def new_cache_id() -> str:
    return "rd" + secrets.token_urlsafe(16)


@dataclass
class Tenant:
    """A cache of somebody, and an HTTP client of the broker that carries its token."""

    app: FastAPI
    cache_id: str
    http: httpx.AsyncClient

    async def ask(self, *command: Any) -> Any:
        """The result of one Redis command."""
        answer = await self.http.post(f"/redis/{self.cache_id}", json=command)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    async def refused(self, *command: Any) -> str:
        """The error of one Redis command."""
        answer = await self.http.post(f"/redis/{self.cache_id}", json=command)
        assert answer.status_code == 400, answer.text
        return str(answer.json()["error"])

    async def operations_left(self) -> int:
        return int((await self.app.state.caches.info(self.cache_id)).operations_left)


class Cashier:
    """A gate that asks a used-up cache for money and never gets any."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def answer(self, call: Call) -> Response:
        assert (call.operation, call.method, call.why[1]) == (TOP_UP, "POST", "operations_used_up")
        self.asked.append(call.path)
        return JSONResponse({}, 402)

    async def drain(self) -> None:
        pass


@pytest.fixture
async def app(tmp_path: Path, valkey_url: str) -> AsyncIterator[FastAPI]:
    app = create_app(settings(tmp_path, valkey_url))
    async with app.router.lifespan_context(app):
        yield app


def client_of(app: FastAPI, token: str | None = None, address: str | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, client=(address or f"10.{os.urandom(1)[0]}.0.1", 1)),
        base_url="http://broker",
        headers={} if token is None else {"Authorization": f"Bearer {token}"},
    )


async def new_tenant(app: FastAPI, operations: int = 50_000) -> Tenant:
    cache_id = new_cache_id()
    await app.state.caches.create(cache_id, "us-east-1", operations, None)
    return Tenant(app, cache_id, client_of(app, app.state.cache_tokens.of(cache_id)))


@pytest.fixture
async def tenant(app: FastAPI) -> AsyncIterator[Tenant]:
    made = await new_tenant(app)
    async with made.http:
        yield made


@pytest.fixture
async def neighbour(app: FastAPI) -> AsyncIterator[Tenant]:
    made = await new_tenant(app)
    async with made.http:
        yield made
