"""What the broker works with, opened when it starts and closed in the reverse order when it ends."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from pydantic import SecretStr
from starlette.datastructures import State
from starlette.routing import BaseRoute

from broker.a2a.desk import Desk
from broker.a2a.tasks import Tasks
from broker.accounts.accounts import Accounts, open_accounts
from broker.caches.tokens import open_tokens
from broker.clients import MAX_RESULT_BYTES, ExecutorClient, QuoteClient
from broker.dashboard.neighbours import Neighbours
from broker.dashboard.opening import open_dashboard
from broker.payments.chain import Chain
from broker.payments.free import FreeGate
from broker.payments.fulfilment import Fulfilment
from broker.payments.gate import PaymentGate
from broker.payments.intake import Intake
from broker.payments.ledger import Ledger
from broker.payments.offers import OfferBook
from broker.payments.pricing import Pricing
from broker.payments.reconciler import Reconciler
from broker.payments.results import Results
from broker.payments.retention import Retention
from broker.payments.settlement import Settlement
from broker.payments.terms import Terms
from broker.payments.watch import Watch
from broker.ratelimits import RateLimits
from broker.runtimes import Runtimes
from broker.settings import BrokerSettings
from broker.storefront.storefront import Storefront
from shared.caches.router import open_caches
from shared.calls import Caller
from shared.clock import Clock
from shared.database import Database, database_url
from shared.http import internal_client, internal_headers
from shared.logs import get_logger
from shared.networks import PUBLIC_RPC, network_named
from shared.settings import private_folder

log = get_logger(__name__)

NEIGHBOUR_TIMEOUT_S = 10.0
FILE_TIMEOUT_S = 30.0
"""For the next part of stored content, not for all of it."""
SWEEP_EVERY_S = 60.0


async def open_all(
    state: State,
    stack: AsyncExitStack,
    terms: Terms | None,
    routes: Sequence[BaseRoute],
    clock: Clock,
) -> None:
    """Put all that the routes use into `state`, by its `settings` and `limits`; `stack` ends it."""
    settings: BrokerSettings = state.settings
    network = network_named(settings.x402_network)
    limits: RateLimits = state.limits
    state.database = database = Database(configured_database(settings))
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
    pricing = Pricing(
        state.quotes,
        offers,
        settings.broker_fee_atomic,
        measure=state.executor.measure,
        free=terms is None,
        mode=settings.fulfilment,
    )
    chain = _open_chain(settings, stack)
    state.watch = Watch(state.settlement, chain, network, settings.facilitator_url)
    fulfilment = Fulfilment(
        ledger=state.ledger,
        settlement=state.settlement,
        executor=state.executor,
        results=state.results,
        chain=chain,
        clock=clock,
    )
    state.storefront = Storefront(
        network=network,
        terms=terms,
        pricing=pricing,
        receipt_key=state.accounts.key.address,
        routes=routes,
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
            terms=terms,
            offers=offers,
            fulfilment=fulfilment,
            limits=limits,
            watch=state.watch,
            clock=clock,
            **common,
        )
    )
    tasks = Tasks(database, network, clock)
    state.a2a = Desk(state, tasks, state.ledger, offers, settings.public_base_url)
    neighbours = Neighbours(
        state.quotes, state.files, clock, settings.wallet_address if terms is not None else None
    )
    state.dashboard = open_dashboard(settings, database, clock, chain=chain, neighbours=neighbours)
    reconciler = Reconciler(state.ledger, fulfilment)
    stack.push_async_callback(reconciler.drain)
    if terms is not None:
        await state.watch.start()  # nothing is sold before it is known that it could be paid
    retention = Retention(database, state.results, clock, settings.results_keep_days)
    works = [_sweep(offers, state.accounts, state.a2a, retention), reconciler.run(), state.dashboard.run()]
    if terms is not None:
        works.append(state.watch.run())
    for work in works:
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
        secret_of(settings.redis_url),
        secret_of(settings.memcached_url),
        settings.cache_max_bytes,
        settings.xcache_url if "xcache" in settings.remote_providers else None,
    )
    stack.push_async_callback(state.caches.close)
    state.cache_tokens = open_tokens(secret_of(settings.cache_token_key), settings.galaksio_home)
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


def configured_database(settings: BrokerSettings) -> str:
    configured = secret_of(settings.database_url)
    if configured:
        return database_url(configured, settings.galaksio_home)
    return database_url(None, private_folder(settings.galaksio_home) / "broker.sqlite")


def secret_of(given: SecretStr | None) -> str | None:
    return None if given is None else given.get_secret_value()


async def _sweep(*kept: OfferBook | Accounts | Desk | Retention) -> None:
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        for store in kept:
            try:
                await store.sweep()
            except Exception:
                log.exception("sweep_failed")
