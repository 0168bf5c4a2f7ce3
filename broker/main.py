"""The broker. `uvicorn broker.main:app --port 8080`, or `python -m broker`."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from eth_utils.address import is_checksum_formatted_address, to_checksum_address
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from broker.checks import checks_of
from broker.figures import publish
from broker.opening import configured_database, open_all, secret_of
from broker.payments.paid_route import PaidRoute
from broker.payments.repeat_middleware import RepeatMiddleware
from broker.payments.repeats import Repeats
from broker.payments.terms import Terms
from broker.ratelimits import RateLimitMiddleware, RateLimits, parse_limit, parse_proxies
from broker.routes import (
    a2a,
    accounts,
    cache_sales,
    caches,
    compute,
    dashboard,
    discovery,
    files,
    home,
    jobs,
    quotes,
    runtimes,
    storage,
    upstash,
)
from broker.routes.cache_schemas import CACHE_TOKEN
from broker.settings import BrokerSettings
from shared.clock import Clock, system_clock
from shared.database import answer_database_errors
from shared.errors import StartupError
from shared.health import health_router
from shared.http import MB, new_app
from shared.logs import get_logger
from shared.metrics import Metrics, metrics_router
from shared.networks import network_named
from shared.observed import Observed
from shared.openapi import publish_outside
from shared.serve import lazy_app
from shared.tracing import telemetry_of

log = get_logger(__name__)

SERVICE = "galaksio-broker"
UPLOAD_OVERHEAD_BYTES = 64 * 1024
"""What a multipart body may have besides its file."""
# The router tries them in this order, so what is sold stands first.
MODULES = (
    compute,
    cache_sales,
    caches,
    upstash,
    storage,
    files,
    home,
    quotes,
    discovery,
    runtimes,
    jobs,
    accounts,
    a2a,
    dashboard,
)

TAGS = {
    "compute": "Code that is run in a sandbox. Paid",
    "storage": "Content that is kept under its IPFS content id. Paid; reading is free",
    "cache": "Caches for HTTP and for clients of Upstash Redis. Paid by their operations",
    "quotes": "Prices of all providers, compared. Free",
    "jobs": "Where the work stands",
    "payments": "What a wallet has paid here",
    "sign-in": "Sign-in with a wallet (EIP-4361)",
    "agents": "Agents that speak in messages",
    "service": "What is sold here",
    "dashboard": "The operator's page, and its numbers",
    "health": "Whether the service works, and its figures",
}


def create_app(settings: BrokerSettings, clock: Clock = system_clock) -> FastAPI:
    """Build the service. Raises `StartupError` when it could not be paid or would pay nobody."""
    network = network_named(settings.x402_network)
    terms = Terms(network, _wallet(settings)) if settings.x402_enabled else None
    if terms is None:
        log.warning("payments_are_off", hint="X402_ENABLED=false: all work is done for free")
    limits = _limits(settings)
    metrics = Metrics(SERVICE)
    configured_database(settings)  # a wrong one is said before anything is opened

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.settings = settings
            app.state.limits = limits
            await open_all(app.state, stack, terms, _routes(), clock)
            publish(metrics, app.state.ledger, app.state.settlement)
            yield

    app = new_app(
        SERVICE,
        "A pay-per-call cloud: send a request, pay the 402, get the work done.",
        lifespan,
        cors_origins=settings.cors_origins,
        inner=[Middleware(RateLimitMiddleware, limits=limits)],
        telemetry=telemetry_of(SERVICE, settings.otlp_endpoint),
        outer=_outer(metrics, limits, clock, sells=terms is not None),
        larger_bodies={("POST", "/store"): settings.max_upload_mb * MB + UPLOAD_OVERHEAD_BYTES},
    )
    _add_routes(app, settings)
    app.include_router(metrics_router(metrics, settings.metrics_tokens, loopback=False))
    return app


def _outer(metrics: Metrics, limits: RateLimits, clock: Clock, *, sells: bool) -> list[Middleware]:
    observed = Middleware(Observed, metrics=metrics)
    if not sells:
        return [observed]
    repeats = Middleware(RepeatMiddleware, paths=_sold_paths(), limits=limits, repeats=Repeats(clock))
    return [observed, repeats]


def _limits(settings: BrokerSettings) -> RateLimits:
    return RateLimits(
        parse_limit(settings.rate_limit_per_ip, "RATE_LIMIT_PER_IP"),
        parse_limit(settings.rate_limit_per_payer, "RATE_LIMIT_PER_PAYER"),
        secret_of(settings.redis_url),
        parse_proxies(settings.trusted_proxies),
    )


def _add_routes(app: FastAPI, settings: BrokerSettings) -> None:
    for module in MODULES:
        app.include_router(module.router)
    app.include_router(health_router(SERVICE, _addresses(settings), checks_of(app, settings)))
    answer_database_errors(app)
    publish_outside(app, TAGS, {CACHE_TOKEN: "The token of the cache, told to its buyer"})


def _routes() -> list[BaseRoute]:
    return [route for module in MODULES for route in module.router.routes]


def _sold_paths() -> list[str]:
    return [route.path for route in _routes() if isinstance(route, PaidRoute)]


def _wallet(settings: BrokerSettings) -> str:
    address = settings.wallet_address
    if not address:
        raise StartupError(
            "No wallet to be paid to: set X402_WALLET_ADDRESS to your 0x address "
            "(`galaksio init` makes one for development), or X402_ENABLED=false to work for free."
        )
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", address) or int(address, 16) == 0:
        raise StartupError("X402_WALLET_ADDRESS is not a 0x address of 40 hex digits.")
    if is_checksum_formatted_address(address) and to_checksum_address(address) != address:
        raise StartupError("X402_WALLET_ADDRESS has a wrong checksum: a digit may be mistyped.")
    return to_checksum_address(address)


def _addresses(settings: BrokerSettings) -> dict[str, str]:
    return {
        "quote": settings.quote_url,
        "executor": settings.executor_url,
        "facilitator": settings.facilitator_url if settings.x402_enabled else "disabled",
        "caches": "enabled" if settings.redis_url or settings.memcached_url else "disabled",
    }


def __getattr__(name: str) -> Any:
    if name == "app":
        # Kept, because uvicorn looks the name up twice.
        return globals().setdefault(name, lazy_app(SERVICE, BrokerSettings, create_app))
    raise AttributeError(name)
