"""What the executor can do right now, so that nothing is sold that nobody can deliver."""

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx

from shared.clock import Clock
from shared.logs import get_logger
from shared.quotes import Kind

log = get_logger(__name__)

FRESH_S = 5.0
"""How long one answer of the executor is believed."""


@dataclass(frozen=True)
class Capability:
    """One executor provider: usable, or the reason why not; `languages` is None where it has no meaning."""

    reason: str | None = None
    languages: frozenset[str] | None = None

    def refusal(self, language: str | None) -> str | None:
        """Why this ask cannot be done, or None."""
        if self.reason is not None:
            return self.reason
        if language and self.languages is not None and language not in self.languages:
            return f"the executor has no {language} runtime"
        return None


class Capabilities:
    """A short-lived copy of the executor's `GET /providers`; parallel askers share one request."""

    def __init__(self, client: httpx.AsyncClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._lock = asyncio.Lock()
        self._asked_at = float("-inf")
        self._known: dict[tuple[str, str], Capability] | None = None

    async def of(self, kind: Kind, name: str) -> Capability:
        known = await self._current()
        if known is None:
            return Capability("the executor does not answer")
        return known.get((kind, name), Capability("the executor here does not do this work"))

    async def reachable(self) -> bool:
        return await self._current() is not None

    async def _current(self) -> dict[tuple[str, str], Capability] | None:
        async with self._lock:
            if self._clock() - self._asked_at >= FRESH_S:
                self._known = await self._ask()
                self._asked_at = self._clock()
            return self._known

    async def _ask(self) -> dict[tuple[str, str], Capability] | None:
        try:
            response = await self._client.get("/providers")
            response.raise_for_status()
            return {(row["kind"], row["name"]): _capability(row) for row in response.json()["providers"]}
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as exc:
            log.warning("executor_unreachable", error=type(exc).__name__)
            return None


def _capability(row: dict[str, Any]) -> Capability:
    if row["status"] != "available":
        return Capability(str(row.get("reason") or row["status"]))
    if not row.get("sellable", True):
        return Capability(str(row.get("reason") or "not sold"))
    languages = row.get("languages")
    return Capability(None, None if languages is None else frozenset(entry["name"] for entry in languages))
