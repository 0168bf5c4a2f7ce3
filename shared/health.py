"""`/health` and `/health/ready`, the same on every service (features.md, X2)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from shared import __version__
from shared.clock import iso_now

State = Literal["healthy", "unhealthy", "disabled"]
CHECK_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Check:
    """What one dependency said: its state, and a sentence when it is not healthy.

    Only a `critical` dependency that is unhealthy makes the service answer 503.
    """

    state: State
    reason: str = ""
    critical: bool = True


class Alive(BaseModel):
    """What a service is, and what it was told to work with: a name and its address, or a word."""

    status: Literal["ok"]
    ok: bool
    service: str
    version: str
    timestamp: str
    dependencies: dict[str, str]


class DependencyState(BaseModel):
    """One dependency as it answered just now; `reason` when it is not healthy."""

    status: State
    reason: str | None = Field(None, exclude_if=lambda value: value is None)


class Readiness(BaseModel):
    """Whether a service can do its work: not when one of its critical dependencies is unhealthy."""

    status: Literal["healthy", "degraded", "unhealthy"]
    ok: bool
    service: str
    version: str
    timestamp: str
    dependencies: dict[str, DependencyState]


CheckCall = Callable[[], Awaitable[Check]]


def health_router(
    service: str, dependencies: Mapping[str, str], checks: Mapping[str, CheckCall]
) -> APIRouter:
    """Routes for liveness and readiness.

    `dependencies` maps a name to its address or state as configured (shown by `/health`, which
    touches no network); `checks` really asks, in parallel, for `/health/ready`.
    """
    router = APIRouter(tags=["health"])

    def card(status: str) -> dict[str, Any]:
        return {
            "status": status,
            "ok": status != "unhealthy",
            "service": service,
            "version": __version__,
            "timestamp": iso_now(),
        }

    @router.get("/health", response_model=Alive)
    async def health() -> dict[str, Any]:
        """Alive. Never touches the network."""
        return {**card("ok"), "dependencies": dict(dependencies)}

    @router.get(
        "/health/ready",
        response_model=Readiness,
        responses={503: {"model": Readiness, "description": "A critical dependency is down"}},
    )
    @router.get("/health/detailed", include_in_schema=False)
    async def ready() -> JSONResponse:
        """Asks each dependency; 503 when the service cannot do its work."""
        found = dict(zip(checks, await asyncio.gather(*map(_ask, checks.values())), strict=True))
        bad = [check for check in found.values() if check.state == "unhealthy"]
        status = "unhealthy" if any(c.critical for c in bad) else "degraded" if bad else "healthy"
        details = {
            name: {"status": check.state, **({"reason": check.reason} if check.reason else {})}
            for name, check in found.items()
        }
        return JSONResponse({**card(status), "dependencies": details}, 503 if status == "unhealthy" else 200)

    return router


async def _ask(check: CheckCall) -> Check:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check()
    except Exception as exc:
        return Check("unhealthy", f"no answer ({type(exc).__name__})")
