"""What quote and executors say of themselves; and the sandboxes' slots, remembered for an hour.

Nobody waits long for a neighbour that does not answer: what was known last is shown, with the reason.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from pydantic import ValidationError

from broker.clients import QuoteClient
from broker.dashboard.executors import Executor, Executors, shared_wallet
from broker.dashboard.schemas import Neighbour, Slots
from shared.clock import Clock
from shared.logs import get_logger
from shared.quotes import ProviderList, ProviderRow

log = get_logger(__name__)

ASK_TIMEOUT_S = 3.0
WAIT_S = 0.3
"""For an answer that is on its way; later looks find it."""
SAMPLE_EVERY_S = 10.0
KEPT_S = 3600
MAX_ROWS = 100


@dataclass(frozen=True)
class Seen:
    """The neighbours as they were seen last."""

    neighbours: tuple[Neighbour, ...] = ()
    providers: tuple[ProviderRow, ...] = ()
    executors: tuple[Executor, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Sample:
    at_s: int
    used: int
    free: int
    waiting: int


@dataclass
class Neighbours:
    """Asks quote by `quotes`, the executors by `executor_http`. Customers pay `wallet_address`, or nobody."""

    quotes: QuoteClient
    executor_http: httpx.AsyncClient
    clock: Clock
    wallet_address: str | None = None
    _seen: Seen = field(default_factory=Seen)
    _asking: "asyncio.Task[Seen] | None" = None
    _samples: deque[_Sample] = field(default_factory=lambda: deque(maxlen=int(KEPT_S / SAMPLE_EVERY_S) + 1))

    def __post_init__(self) -> None:
        self._executors = Executors(self.executor_http, self.clock)

    async def look(self) -> Seen:
        """What the neighbours say now, or said last when they take longer than `WAIT_S`."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        await asyncio.wait({self._asking}, timeout=WAIT_S)
        return self._seen

    def slots(self) -> Slots:
        """The samples of the last hour, oldest first."""
        since_s = self.clock() - KEPT_S
        kept = [sample for sample in self._samples if sample.at_s >= since_s]
        return Slots(
            at=[sample.at_s for sample in kept],
            used=[sample.used for sample in kept],
            free=[sample.free for sample in kept],
            waiting=[sample.waiting for sample in kept],
        )

    async def run(self) -> None:
        """Look every `SAMPLE_EVERY_S`, whether or not somebody looks at the page. Until cancelled."""
        try:
            while True:
                await asyncio.sleep(SAMPLE_EVERY_S)
                await self.look()
        finally:
            if self._asking is not None:
                self._asking.cancel()

    async def _ask(self) -> Seen:
        (quote, providers), (executor, executors) = await asyncio.gather(
            _answer("quote", self._quote_version, self._providers, self._seen.providers),
            _answer("executor", self._executor_version, self._executors.look, self._seen.executors),
        )
        wrong = shared_wallet(executors, self.wallet_address)
        if wrong is not None and wrong not in self._seen.warnings:
            log.error("wallet_shared", hint=wrong)
        self._seen = Seen((quote, executor), providers, executors, () if wrong is None else (wrong,))
        if executor.reachable:
            self._remember(executors)
        return self._seen

    async def _quote_version(self) -> Any:
        return (await self.quotes.forward("GET", "/health")).raise_for_status().json()

    async def _executor_version(self) -> Any:
        return (await self.executor_http.get("/health")).raise_for_status().json()

    async def _providers(self) -> tuple[ProviderRow, ...]:
        answer = (await self.quotes.forward("GET", "/providers")).raise_for_status()
        return tuple(ProviderList.model_validate_json(answer.content).providers[:MAX_ROWS])

    def _remember(self, executors: tuple[Executor, ...]) -> None:
        at_s = int(self.clock())
        if self._samples and 0 <= at_s - self._samples[-1].at_s < SAMPLE_EVERY_S / 2:
            return
        lines = [one.line() for one in executors]
        free = sum(line.slotsFree for line in lines)
        used = sum(line.slots for line in lines) - free
        self._samples.append(_Sample(at_s, used, free, sum(line.waiting for line in lines)))


async def _answer(
    name: str,
    version: Callable[[], Awaitable[Any]],
    ask: Callable[[], Awaitable[tuple[Any, ...]]],
    before: tuple[Any, ...],
) -> tuple[Neighbour, tuple[Any, ...]]:
    """How the neighbour is, and its rows: those from `before` when it does not answer."""
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            card, rows = await asyncio.gather(version(), ask())
    except Exception as exc:
        reason = (
            "it gave no sense" if isinstance(exc, ValidationError) else f"no answer ({type(exc).__name__})"
        )
        return Neighbour(name=name, reachable=False, reason=reason), before
    told = card.get("version") if isinstance(card, dict) else None
    return Neighbour(name=name, reachable=True, version=told if isinstance(told, str) else None), rows
