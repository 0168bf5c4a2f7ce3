"""The executor service. `uvicorn executor.main:app --port 8082`, or `python -m executor`."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from executor.files import UPLOADS_PATH
from executor.jobs import Jobs
from executor.measures import Measures
from executor.once import Once
from executor.providers.base import Context, Drains, Provider, Serves, find_providers
from executor.results import Bounds, Results, open_database
from executor.routes import router
from executor.settings import ExecutorSettings
from executor.stopping import told_to_stop
from executor.storage.storage import Storage
from executor.upstream.opening import choose_upstream
from shared.clock import Clock, system_clock
from shared.database import answer_database_errors
from shared.health import Check, State, health_router
from shared.http import MB, new_app
from shared.openapi import publish_inside
from shared.serve import lazy_app
from shared.settings import private_folder

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
    results = Results(database, uuid.uuid4().hex, clock, bounds)
    once = Once(results)

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
            app.state.jobs = Jobs(registry, once, measures)
            stopping = _Stopping(registry.providers.values())
            stack.push_async_callback(stopping.ended)
            stack.enter_context(told_to_stop(stopping.begin))
            yield

    async def store() -> Check:
        await results.ping()
        return Check("healthy")

    app = new_app(
        SERVICE,
        "Runs the work that was paid for. Internal: the broker is the door.",
        lifespan,
        cors_origins=settings.cors_origins,
        internal=True,
        token=settings.internal_token,
        larger_bodies={("PUT", UPLOADS_PATH): settings.max_upload_mb * MB},
    )
    checks = {f"{p.kind}/{p.name}": _check(p) for p in registry.providers.values()}
    dependencies = {"results": database.backend, "sandbox": settings.sandbox}
    app.include_router(health_router(SERVICE, dependencies, {**checks, "results": store}))
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


def _check(provider: Provider) -> Any:
    async def check() -> Check:
        status = provider.status()
        if status.status == "available":
            return Check("healthy", status.reason)
        state: State = "disabled" if status.status == "disabled" else "unhealthy"
        # Without its caches a host still runs code and keeps files.
        return Check(state, status.reason, critical=provider.kind != "cache")

    return check


def __getattr__(name: str) -> Any:
    if name == "app":
        # Kept, because uvicorn looks the name up twice.
        return globals().setdefault(name, lazy_app(SERVICE, ExecutorSettings, create_app))
    raise AttributeError(name)
