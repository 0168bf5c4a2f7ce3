"""What `/health/ready` of the quote service asks."""

from fastapi import FastAPI

from quote.fanout import QuoteEngine
from quote.market import Market
from quote.settings import QuoteSettings
from shared.health import Check, CheckCall
from shared.remote import REMOTE_PROVIDERS


def checks_of(app: FastAPI, settings: QuoteSettings) -> dict[str, CheckCall]:
    """By the name of the dependency. Prices are named without any of them, fewer and later."""

    async def executor() -> Check:
        if await app.state.capabilities.reachable():
            return Check("healthy")
        return Check("unhealthy", f"the executor at {settings.executor_url} does not answer", critical=False)

    async def redis() -> Check:
        market: Market = app.state.market
        answers = await market.shelf_answers()
        if answers is None:
            return Check("disabled")
        if answers:
            return Check("healthy")
        said = "REDIS_URL does not answer: each quote process asks the providers for itself"
        return Check("unhealthy", said, critical=False)

    async def providers() -> Check:
        return _of_providers(app.state.engine, app.state.market)

    return {"executor": executor, "redis": redis, "providers": providers}


def _of_providers(engine: QuoteEngine, market: Market) -> Check:
    """Whether the remote ones answer, as their last answers say: none is asked for this."""
    remote = [one for one in engine.providers if one.name in REMOTE_PROVIDERS and one.disabled is None]
    failing = sorted({one.name for one in remote if market.breaker(one.name).circuit != "closed"})
    if failing:
        return Check("unhealthy", f"{', '.join(failing)}: keeps failing", critical=False)
    return Check("healthy" if remote else "disabled")
