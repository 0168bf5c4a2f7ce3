"""The quote service. `uvicorn quote.main:app --port 8081`, or `python -m quote`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware

from quote.answers import Answers
from quote.capabilities import Capabilities
from quote.checks import checks_of
from quote.fanout import QuoteEngine
from quote.figures import publish
from quote.market import Market
from quote.outside import Outside
from quote.providers.base import Context, find_providers
from quote.routes import card_router, router
from quote.settings import QuoteSettings
from quote.shelf import Shelf
from shared.clock import Clock, system_clock
from shared.health import health_router
from shared.http import internal_client, new_app
from shared.metrics import Metrics, metrics_router
from shared.observed import Observed
from shared.openapi import publish_inside
from shared.remote import RemoteSettings
from shared.serve import lazy_app
from shared.tracing import telemetry_of

SERVICE = "galaksio-quote"
TAGS = {"quotes": "Prices of all providers, compared", "health": "Whether the service works"}
LATE_S = 2.0
"""What a question to a provider may take beyond the time that its asker waits, for the next asker."""
REMOTE_URLS = sorted(name for name in RemoteSettings.model_fields if name.endswith("_url"))


def create_app(settings: QuoteSettings, clock: Clock = system_clock) -> FastAPI:
    """Build the service. Nothing is opened before its lifespan starts."""
    token = settings.internal_token
    metrics = Metrics(SERVICE)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            internal_client(settings.executor_url, token, settings.deadline_s) as client,
            Outside(settings.deadline_s) as outside,
            _market(settings, clock) as market,
        ):
            app.state.market = market
            app.state.answers = Answers(clock, lambda: market.changes)
            app.state.capabilities = Capabilities(client, clock)
            app.state.engine = QuoteEngine(
                find_providers(Context(settings, app.state.capabilities, market, outside)),
                network=settings.x402_network,
                deadline_s=settings.deadline_s,
                valid_s=settings.valid_s,
                clock=clock,
                capabilities=app.state.capabilities,
                measures=market.measures,
            )
            publish(metrics, app.state.engine, app.state.capabilities, market)
            yield

    app = new_app(
        SERVICE,
        "Prices of all providers, compared.",
        lifespan,
        cors_origins=settings.cors_origins,
        internal=True,
        token=token,
        telemetry=telemetry_of(SERVICE, settings.otlp_endpoint),
        outer=[Middleware(Observed, metrics=metrics)],
    )

    app.include_router(health_router(SERVICE, {"executor": settings.executor_url}, checks_of(app, settings)))
    app.include_router(metrics_router(metrics, settings.metrics_tokens, loopback=True))
    app.include_router(card_router)
    app.include_router(router)
    app.include_router(router, prefix="/v2")
    publish_inside(app, TAGS)
    return app


@asynccontextmanager
async def _market(settings: QuoteSettings, clock: Clock) -> AsyncIterator[Market]:
    """The market of this host, shared with all that ask the same providers at the same addresses."""
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    market = Market(
        ttl_s=settings.cache_ttl_s,
        clock=clock,
        shelf=Shelf(redis_url, scope=" ".join(getattr(settings, name) for name in REMOTE_URLS)),
        flight_s=settings.deadline_s + LATE_S,
    )
    await market.open()
    try:
        yield market
    finally:
        await market.close()


def __getattr__(name: str) -> Any:
    if name == "app":
        # Kept, because uvicorn looks the name up twice.
        return globals().setdefault(name, lazy_app(SERVICE, QuoteSettings, create_app))
    raise AttributeError(name)
