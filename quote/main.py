"""The quote service. `uvicorn quote.main:app --port 8081`, or `python -m quote`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from quote.capabilities import Capabilities
from quote.fanout import QuoteEngine
from quote.market import Market
from quote.outside import Outside
from quote.providers.base import Context, find_providers
from quote.routes import router
from quote.settings import QuoteSettings
from shared.clock import Clock, system_clock
from shared.health import Check, health_router
from shared.http import internal_client, new_app
from shared.serve import lazy_app

SERVICE = "galaksio-quote"


def create_app(settings: QuoteSettings, clock: Clock = system_clock) -> FastAPI:
    """Build the service. Nothing is opened before its lifespan starts."""
    token = settings.internal_token

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            internal_client(settings.executor_url, token, settings.deadline_s) as client,
            Outside(settings.deadline_s) as outside,
        ):
            app.state.capabilities = Capabilities(client, clock)
            app.state.engine = QuoteEngine(
                find_providers(Context(settings, app.state.capabilities, Market(), outside)),
                network=settings.x402_network,
                deadline_s=settings.deadline_s,
                valid_s=settings.valid_s,
                clock=clock,
            )
            yield

    app = new_app(
        SERVICE,
        "Prices of all providers, compared.",
        lifespan,
        cors_origins=settings.cors_origins,
        internal=True,
        token=token,
    )

    async def executor() -> Check:
        if await app.state.capabilities.reachable():
            return Check("healthy")
        return Check("unhealthy", f"the executor at {settings.executor_url} does not answer", critical=False)

    app.include_router(health_router(SERVICE, {"executor": settings.executor_url}, {"executor": executor}))
    app.include_router(router)
    return app


def __getattr__(name: str) -> Any:
    if name == "app":
        # Kept, because uvicorn looks the name up twice.
        return globals().setdefault(name, lazy_app(SERVICE, QuoteSettings, create_app))
    raise AttributeError(name)
