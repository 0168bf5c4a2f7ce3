"""What the executor can do right now, so that nothing is sold that nobody can deliver."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
from pydantic import Field

from shared.clock import Clock
from shared.fresh import Fresh
from shared.jobs import Wire
from shared.logs import get_logger
from shared.money import atomic_to_usd
from shared.quotes import EXECUTOR_BUSY, EXECUTOR_FUNDS, MAX_RETRY_S, Kind, Refusal

log = get_logger(__name__)

FRESH_S = 0.5
"""How long one answer of the executor is believed: work is not offered for longer than that to a full one."""
BUSY_RETRY_S = 5
"""When to come back to a full executor that does not say."""
HOST_RETRY_S = 60
"""When to come back for what the host has to repair."""

FUNDS_RETRY_S = 60
"""When to come back for what costs more than may be spent now."""

DOES_NOT_ANSWER = Refusal(code="executor_unavailable", reason="the executor does not answer", retry_after_s=5)
NOT_DONE_HERE = Refusal(
    code="no_providers",
    reason="the executor here does not do this work",
    retry_after_s=HOST_RETRY_S,
)


class _Language(Wire):
    name: str
    dependencies: bool = True


class _Row(Wire):
    """What is read of one provider of the executor. What it does not tell does not speak against it."""

    kind: str
    name: str
    status: str
    reason: str | None = None
    sellable: bool = True
    accepting: bool | None = None
    retry_after_s: float | None = Field(None, allow_inf_nan=False)
    languages: list[_Language] | None = None
    memory_mb: int | None = None
    networks: list[str] | None = None
    spendable_atomic: int | None = None
    success_rate: float | None = Field(None, allow_inf_nan=False)
    typical_ms: int | None = None


class _Rows(Wire):
    providers: list[_Row]


@dataclass(frozen=True)
class Needs:
    """What an ask wants of the executor; None is no matter.

    `price_atomic` (10^-6 USD) is what the executor would have to pay somebody for it, on `network` (CAIP-2).
    """

    language: str | None = None
    memory_mb: int | None = None
    dependencies: bool = False
    price_atomic: int | None = None
    network: str | None = None


@dataclass(frozen=True)
class Capability:
    """One executor provider.

    `broken` is why it does no work at all, `busy` why it takes none right now; `disabled`: the host has not
    set it up, which is no failure. `languages` (with whether a run of each may want dependencies) and
    `memory_mb` (the most that one run can get) are None where they have no meaning or are not told; so are
    `networks` (CAIP-2) on which it can be paid, and `spendable_atomic`, the most that one job may spend on
    it. `success_rate` (0 to 1) and `typical_ms` are measured: of its jobs lately.
    """

    broken: Refusal | None = None
    busy: Refusal | None = None
    disabled: bool = False
    languages: Mapping[str, bool] | None = None
    memory_mb: int | None = None
    networks: Sequence[str] | None = None
    spendable_atomic: int | None = None
    success_rate: float | None = None
    typical_ms: int | None = None

    def refusal(self, needs: Needs) -> Refusal | None:
        """Why such an ask cannot be done now, or None; what will never be done before what has to wait."""
        if self.broken is not None:
            return self.broken
        if needs.language and self.languages is not None:
            if needs.language not in self.languages:
                reason = f"the executor has no {needs.language} runtime"
                return Refusal(code="runtime_unavailable", reason=reason)
            if needs.dependencies and not self.languages[needs.language]:
                reason = f"the executor here installs no dependencies for {needs.language}"
                return Refusal(code="dependencies_unavailable", reason=reason)
        if needs.memory_mb and self.memory_mb is not None and needs.memory_mb > self.memory_mb:
            return Refusal(
                code="size_unavailable",
                reason=f"this size is {needs.memory_mb} MB, and a run here gets {self.memory_mb} MB at most",
            )
        return self._cannot_pay(needs) or self.busy

    def _cannot_pay(self, needs: Needs) -> Refusal | None:
        if needs.network and self.networks is not None and needs.network not in self.networks:
            reason = f"the executor here cannot pay on {needs.network}"
            return Refusal(code="network_unavailable", reason=reason)
        limit = self.spendable_atomic
        if needs.price_atomic is None or limit is None or needs.price_atomic <= limit:
            return None
        return Refusal(
            code=EXECUTOR_FUNDS,
            reason=f"the executor may spend ${atomic_to_usd(limit)} on a job now",
            retry_after_s=FUNDS_RETRY_S,
        )


class Capabilities:
    """A short-lived copy of the executor's `GET /providers`; parallel askers share one request."""

    def __init__(self, client: httpx.AsyncClient, clock: Clock) -> None:
        self._client = client
        self._known = Fresh(self._ask, clock, FRESH_S)
        self._clock = clock
        self._last: Mapping[tuple[str, str], Capability] = {}
        self.fresh_until = 0.0
        """Until when the last answer is believed, in the clock's seconds."""

    async def of(self, kind: Kind, name: str) -> Capability:
        known = await self._known.get()
        if known is None:
            return Capability(DOES_NOT_ANSWER)
        return known.get((kind, name), Capability(NOT_DONE_HERE))

    def last(self, kind: Kind, name: str) -> Capability:
        """What the executor told of it last, without asking; an empty one when it told nothing."""
        return self._last.get((kind, name), Capability())

    async def reachable(self) -> bool:
        return await self._known.get() is not None

    async def _ask(self) -> Mapping[tuple[str, str], Capability] | None:
        known = await self._asked()
        self._last = known or {}
        self.fresh_until = self._clock() + FRESH_S
        return known

    async def _asked(self) -> Mapping[tuple[str, str], Capability] | None:
        try:
            response = await self._client.get("/providers")
            response.raise_for_status()
            rows = _Rows.model_validate(response.json()).providers
        except (httpx.HTTPError, ValueError) as exc:
            log.warning("executor_unreachable", error=type(exc).__name__)
            return None
        return {(row.kind, row.name): _capability(row) for row in rows}


def _capability(row: _Row) -> Capability:
    broken = None
    if row.status != "available" or not row.sellable:
        broken = Refusal(
            code="sandbox_unavailable" if (row.kind, row.name) == ("compute", "local") else "no_providers",
            reason=row.reason or "not sold",
            retry_after_s=HOST_RETRY_S,
        )
    languages = row.languages
    return Capability(
        broken=broken,
        busy=_busy(row) if row.accepting is False else None,
        disabled=row.status == "disabled",
        languages=None if languages is None else {entry.name: entry.dependencies for entry in languages},
        memory_mb=row.memory_mb,
        networks=row.networks,
        spendable_atomic=row.spendable_atomic,
        success_rate=row.success_rate,
        typical_ms=row.typical_ms,
    )


def _busy(row: _Row) -> Refusal:
    wait_s = BUSY_RETRY_S if row.retry_after_s is None else math.ceil(row.retry_after_s)
    return Refusal(
        code=EXECUTOR_BUSY,
        reason=row.reason
        or "the executor takes no further work now: its slots and queue are full, or it is stopping",
        retry_after_s=min(max(wait_s, 1), MAX_RETRY_S),
    )
