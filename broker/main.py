"""The broker. `uvicorn broker.main:app --port 8080`, or `python -m broker`."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from eth_utils.address import is_checksum_formatted_address, to_checksum_address
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.datastructures import State
from starlette.middleware import Middleware

from broker.accounts.accounts import Accounts, open_accounts
from broker.caches.tokens import open_tokens
from broker.clients import MAX_RESULT_BYTES, ExecutorClient, QuoteClient
from broker.payments.chain import Chain
from broker.payments.free import FreeGate
from broker.payments.fulfilment import Fulfilment
from broker.payments.gate import PaymentGate
from broker.payments.intake import Intake
from broker.payments.ledger import Ledger
from broker.payments.offers import OfferBook
from broker.payments.paid_route import PaidRoute
from broker.payments.pricing import Pricing
from broker.payments.reconciler import Reconciler
from broker.payments.repeat_middleware import RepeatMiddleware
from broker.payments.repeats import Repeats
from broker.payments.results import Results
from broker.payments.settlement import Settlement
from broker.payments.terms import Terms
from broker.ratelimits import RateLimitMiddleware, RateLimits, parse_limit, parse_proxies
from broker.routes import (
    accounts,
    cache_sales,
    caches,
    compute,
    discovery,
    files,
    home,
    jobs,
    runtimes,
    storage,
    upstash,
)
from broker.runtimes import Runtimes
from broker.settings import BrokerSettings
from broker.storefront.storefront import Storefront
from shared.caches.errors import CacheUnavailable
from shared.caches.router import CacheRouter, open_caches
from shared.calls import Caller
from shared.clock import Clock, system_clock
from shared.database import Database, answer_database_errors, database_url
from shared.errors import StartupError
from shared.health import Check, health_router
from shared.http import MB, internal_client, internal_headers, new_app
from shared.logs import get_logger
from shared.networks import PUBLIC_RPC, network_named
from shared.serve import lazy_app
from shared.settings import private_folder

log = get_logger(__name__)

SERVICE = "galaksio-broker"
NEIGHBOUR_TIMEOUT_S = 10.0
FILE_TIMEOUT_S = 30.0
"""For the next part of stored content, not for all of it."""
UPLOAD_OVERHEAD_BYTES = 64 * 1024
"""What a multipart body may have besides its file."""
SWEEP_EVERY_S = 60.0
# The router tries them in this order, so what is sold stands first.
MODULES = (compute, cache_sales, caches, upstash, storage, files, home, discovery, runtimes, jobs, accounts)


def create_app(settings: BrokerSettings, clock: Clock = system_clock) -> FastAPI:
    """Build the service. Raises `StartupError` when it could not be paid or would pay nobody."""
    network = network_named(settings.x402_network)
    terms = Terms(network, _wallet(settings)) if settings.x402_enabled else None
    if terms is None:
        log.warning("payments_are_off", hint="X402_ENABLED=false: all work is done for free")
    limits = _limits(settings)
    _database_url(settings)  # a wrong one is said before anything is opened

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.settings = settings
            await _open(app.state, stack, terms, limits, clock)
            yield

    app = new_app(
        SERVICE,
        "A pay-per-call cloud: send a request, pay the 402, get the work done.",
        lifespan,
        cors_origins=settings.cors_origins,
        inner=[Middleware(RateLimitMiddleware, limits=limits)],
        larger_bodies={("POST", "/store"): settings.max_upload_mb * MB + UPLOAD_OVERHEAD_BYTES},
    )
    if terms is not None:
        app.add_middleware(RepeatMiddleware, paths=_sold_paths(), limits=limits, repeats=Repeats(clock))
    _add_routes(app, settings)
    return app


async def _open(
    state: State, stack: AsyncExitStack, terms: Terms | None, limits: RateLimits, clock: Clock
) -> None:
    """Put all that the routes use into `state`, by its `settings`. `stack` ends it, newest first."""
    settings: BrokerSettings = state.settings
    network = network_named(settings.x402_network)
    state.limits = limits
    state.database = database = Database(_database_url(settings))
    stack.push_async_callback(database.close)
    await database.migrate("broker:migrations", "broker_version")
    await _open_neighbours(state, stack, settings)
    state.ledger = Ledger(
        database,
        network,
        clock,
        exposure_cap_atomic=settings.exposure_cap_atomic,
        lease_ms=int(settings.lease_s * 1000),
    )
    state.results = Results(settings.galaksio_home / "results")
    state.accounts = await open_accounts(database, network, clock, settings.operator)
    offers = OfferBook(database, clock, settings.offer_ttl_s)
    pricing = Pricing(state.quotes, offers, settings.broker_fee_atomic, measure=state.executor.measure)
    fulfilment = Fulfilment(
        ledger=state.ledger,
        settlement=state.settlement,
        executor=state.executor,
        results=state.results,
        chain=_open_chain(settings, stack),
        clock=clock,
    )
    state.storefront = Storefront(
        network=network,
        terms=terms,
        pricing=pricing,
        receipt_key=state.accounts.key.address,
        routes=[route for module in MODULES for route in module.router.routes],
        public_base_url=settings.public_base_url,
    )
    common: dict[str, Any] = {
        "pricing": pricing,
        "ledger": state.ledger,
        "results": state.results,
        "intake": Intake(state.executor),
        "tokens": state.cache_tokens,
        "public_base_url": settings.public_base_url,
    }
    state.gate = (
        FreeGate(executor=state.executor, **common)
        if terms is None
        else PaymentGate(
            terms=terms, offers=offers, fulfilment=fulfilment, limits=limits, clock=clock, **common
        )
    )
    reconciler = Reconciler(state.ledger, fulfilment)
    stack.push_async_callback(reconciler.drain)
    for work in (_sweep(offers, state.accounts), reconciler.run()):
        stack.push_async_callback(_end, asyncio.create_task(work))
    stack.push_async_callback(state.gate.drain)


async def _open_neighbours(state: State, stack: AsyncExitStack, settings: BrokerSettings) -> None:
    """Quote, executor, facilitator and the caches; none of them has to answer now."""
    token = settings.internal_token
    quote_http = internal_client(settings.quote_url, token, NEIGHBOUR_TIMEOUT_S)
    state.quotes = QuoteClient(await stack.enter_async_context(quote_http))
    files_http = internal_client(settings.executor_url, token, FILE_TIMEOUT_S)
    state.files = await stack.enter_async_context(files_http)
    executor = Caller(
        settings.executor_url,
        timeout_s=NEIGHBOUR_TIMEOUT_S,
        max_bytes=MAX_RESULT_BYTES,
        headers=internal_headers(token),
    )
    stack.push_async_callback(executor.close)
    state.executor = ExecutorClient(executor)
    state.runtimes = Runtimes(state.executor)
    state.caches = open_caches(
        _secret(settings.redis_url), _secret(settings.memcached_url), settings.cache_max_bytes
    )
    stack.push_async_callback(state.caches.close)
    state.cache_tokens = open_tokens(_secret(settings.cache_token_key), settings.galaksio_home)
    network = network_named(settings.x402_network)
    state.settlement = Settlement(settings.facilitator_url, network, settings.facilitator_timeout_s)
    stack.push_async_callback(state.settlement.close)


def _open_chain(settings: BrokerSettings, stack: AsyncExitStack) -> Chain | None:
    network = network_named(settings.x402_network)
    rpc_url = settings.chain_rpc_url or PUBLIC_RPC.get(network.name)
    if not rpc_url:
        return None
    chain = Chain(rpc_url, network)
    stack.push_async_callback(chain.close)
    return chain


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _limits(settings: BrokerSettings) -> RateLimits:
    return RateLimits(
        parse_limit(settings.rate_limit_per_ip, "RATE_LIMIT_PER_IP"),
        parse_limit(settings.rate_limit_per_payer, "RATE_LIMIT_PER_PAYER"),
        _secret(settings.redis_url),
        parse_proxies(settings.trusted_proxies),
    )


def _add_routes(app: FastAPI, settings: BrokerSettings) -> None:
    for module in MODULES:
        app.include_router(module.router)
    app.include_router(health_router(SERVICE, _addresses(settings), _checks(app, settings)))
    answer_database_errors(app)
    _publish_schemas(app, compute.RUN_SCHEMAS)


def _sold_paths() -> list[str]:
    routes = [route for module in MODULES for route in module.router.routes]
    return [route.path for route in routes if isinstance(route, PaidRoute)]


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


def _database_url(settings: BrokerSettings) -> str:
    configured = _secret(settings.database_url)
    if configured:
        return database_url(configured, settings.galaksio_home)
    return database_url(None, private_folder(settings.galaksio_home) / "broker.sqlite")


def _secret(given: SecretStr | None) -> str | None:
    return None if given is None else given.get_secret_value()


def _addresses(settings: BrokerSettings) -> dict[str, str]:
    return {
        "quote": settings.quote_url,
        "executor": settings.executor_url,
        "facilitator": settings.facilitator_url if settings.x402_enabled else "disabled",
        "caches": "enabled" if settings.redis_url or settings.memcached_url else "disabled",
    }


def _checks(app: FastAPI, settings: BrokerSettings) -> dict[str, Any]:
    async def database() -> Check:
        await app.state.database.ping()
        return Check("healthy")

    async def quote() -> Check:
        answer = await app.state.quotes.forward("GET", "/health")
        return Check("healthy" if answer.status_code == 200 else "unhealthy")

    async def executor() -> Check:
        await app.state.executor.providers()
        return Check("healthy")

    async def facilitator() -> Check:
        if not settings.x402_enabled:
            return Check("disabled")
        if await app.state.settlement.reachable():
            return Check("healthy")
        return Check("unhealthy", f"the facilitator does not settle on {settings.x402_network}")

    async def caches() -> Check:
        router: CacheRouter = app.state.caches
        if not router.backends:
            return Check("disabled")
        try:
            await router.ping()
        except CacheUnavailable as exc:
            return Check("unhealthy", exc.message, critical=False)
        return Check("healthy")

    return {
        "database": database,
        "quote": quote,
        "executor": executor,
        "facilitator": facilitator,
        "caches": caches,
    }


def _publish_schemas(app: FastAPI, schemas: dict[str, Any]) -> None:
    """Add the models that only `openapi_extra` names to the published components."""
    build = app.openapi

    def openapi() -> dict[str, Any]:
        document = build()
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


async def _sweep(*kept: OfferBook | Accounts) -> None:
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        for store in kept:
            try:
                await store.sweep()
            except Exception:
                log.exception("sweep_failed")


def __getattr__(name: str) -> Any:
    if name == "app":
        # Kept, because uvicorn looks the name up twice.
        return globals().setdefault(name, lazy_app(SERVICE, BrokerSettings, create_app))
    raise AttributeError(name)
