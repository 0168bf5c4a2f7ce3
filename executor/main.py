"""The executor service. `uvicorn executor.main:app --port 8082`, or `python -m executor`."""

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware

from executor.checks import checks_of
from executor.figures import Figures, publish
from executor.files import UPLOADS_PATH
from executor.jobs import Jobs
from executor.measures import Measures
from executor.once import Once
from executor.providers.base import Context, Drains, Provider, Serves, find_providers
from executor.results import Bounds, Results, open_database
from executor.route_schemas import Whoami
from executor.routes import router
from executor.settings import ExecutorSettings
from executor.stopping import told_to_stop
from executor.storage.storage import Storage
from executor.upstream.opening import choose_upstream
from shared.clock import Clock, system_clock
from shared.database import answer_database_errors
from shared.health import health_router
from shared.http import MB, new_app
from shared.metrics import Metrics, metrics_router
from shared.observed import Observed
from shared.openapi import publish_inside
from shared.serve import lazy_app
from shared.settings import private_folder
from shared.tracing import telemetry_of

SERVICE = "galaksio-executor"
TAGS = {
    "executor": "The work, and who does it",
    "storage": "Stored content: uploads in, files out",
    "health": "Whether the service works",
}


def create_app(settings: ExecutorSettings, clock: Clock = system_clock) -> FastAPI:
    """Build the service. Nothing is opened before its lifespan starts, but the data folder is made.

    Raises `StartupError` when the folder, DATABASE_URL or a setting for paying others cannot be used.
    """
    upstream = choose_upstream(settings, clock)
    registry = find_providers(Context(settings, upstream, Storage(settings.storage_options, clock)))
    database = open_database(settings.database_url, private_folder(settings.galaksio_home))
    bounds = Bounds(settings.result_ttl_s, settings.results_max, settings.results_max_bytes, settings.lease_s)
    instance = uuid.uuid4().hex
    results = Results(database, instance, clock, bounds)
    once = Once(results)
    metrics = Metrics(SERVICE)
    figures = Figures(metrics)
    publish(metrics, registry, upstream)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(upstream.close)
            await upstream.open()
            for provider in registry.providers.values():
                stack.push_async_callback(provider.close)
                await provider.open()
            # Closed first: running work is stopped before its provider goes.
            stack.push_async_callback(once.close)
            await once.open()
            measures = Measures(database)
            stack.push_async_callback(measures.close)
            await measures.open()
            app.state.jobs = Jobs(registry, once, measures, figures)
            app.state.whoami = Whoami(
                instance=instance, machine=socket.gethostname(), payer=upstream.means().payer
            )
            stopping = _Stopping(registry.providers.values())
            stack.push_async_callback(stopping.ended)
            stack.enter_context(told_to_stop(stopping.begin))
            yield

    app = new_app(
        SERVICE,
        "Runs the work that was paid for. Internal: the broker is the door.",
        lifespan,
        cors_origins=settings.cors_origins,
        internal=True,
        token=settings.internal_token,
        telemetry=telemetry_of(SERVICE, settings.otlp_endpoint),
        outer=[Middleware(Observed, metrics=metrics)],
        larger_bodies={("PUT", UPLOADS_PATH): settings.max_upload_mb * MB},
    )
    dependencies = {"results": database.backend, "sandbox": settings.sandbox}
    app.include_router(health_router(SERVICE, dependencies, checks_of(registry, results, upstream)))
    app.include_router(metrics_router(metrics, settings.metrics_tokens, loopback=True))
    app.include_router(router)
    for provider in registry.providers.values():
        if isinstance(provider, Serves):
            app.include_router(provider.routes())
    answer_database_errors(app)
    publish_inside(app, TAGS)
    return app


class _Stopping:
    """Drains every provider that can be drained, once."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        self._providers = [provider for provider in providers if isinstance(provider, Drains)]
        self._draining: asyncio.Future[list[None]] | None = None

    def begin(self) -> None:
        if self._draining is None:
            self._draining = asyncio.gather(*(provider.drain() for provider in self._providers))

    async def ended(self) -> None:
        if self._draining is not None:
            await self._draining


def __getattr__(name: str) -> Any:
    if name == "app":
        # Kept, because uvicorn looks the name up twice.
        return globals().setdefault(name, lazy_app(SERVICE, ExecutorSettings, create_app))
    raise AttributeError(name)
