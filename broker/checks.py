"""What `/health/ready` of the broker asks."""

from typing import Any

from fastapi import FastAPI

from broker.payments.watch import Watch
from broker.settings import BrokerSettings
from shared.caches.errors import CacheUnavailable
from shared.caches.router import CacheRouter
from shared.health import Check, CheckCall


def checks_of(app: FastAPI, settings: BrokerSettings) -> dict[str, CheckCall]:
    """By the name of the dependency."""

    async def database() -> Check:
        await app.state.database.ping()
        return Check("healthy")

    async def quote() -> Check:
        answer = await app.state.quotes.forward("GET", "/health")
        return Check("healthy" if answer.status_code == 200 else "unhealthy")

    async def executor() -> Check:
        await app.state.executor.providers()
        return Check("healthy")

    async def providers() -> Check:
        return _of_providers(await app.state.executor.providers())

    async def caches() -> Check:
        router: CacheRouter = app.state.caches
        if not (settings.redis_url or settings.memcached_url):
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
        "providers": providers,
        "caches": caches,
        **_of_money(app, paid=settings.x402_enabled),
    }


def _of_money(app: FastAPI, *, paid: bool) -> dict[str, CheckCall]:
    async def facilitator() -> Check:
        return await _watch(app).facilitator() if paid else Check("disabled")

    async def chain() -> Check:
        return await _watch(app).chain() if paid else Check("disabled")

    async def clock() -> Check:
        return await _watch(app).clock() if paid else Check("disabled")

    return {"facilitator": facilitator, "chain": chain, "clock": clock}


def _watch(app: FastAPI) -> Watch:
    watch: Watch = app.state.watch
    return watch


def _of_providers(answer: Any) -> Check:
    """Whether each of the executor's providers works. Raises `KeyError` and `TypeError` for anything else."""
    rows = [row for row in answer["providers"] if row["status"] != "disabled"]
    broken = sorted(f"{row['kind']}/{row['name']}" for row in rows if row["status"] != "available")
    if broken:
        return Check("unhealthy", f"{', '.join(broken)}: see /health/ready of the executor", critical=False)
    return Check("healthy" if rows else "disabled")
