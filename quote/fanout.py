"""Ask all providers at once under one deadline, and rank what they say."""

import asyncio
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from quote.asks import Ask
from quote.capabilities import Capabilities
from quote.horizon import Horizon, look
from quote.kept import FAILED_S
from quote.measures import Measures
from quote.providers.base import Decline, Failed, Price, QuoteProvider, Resting
from quote.selection import Record, select
from shared.clock import Clock, iso
from shared.errors import BadRequest
from shared.logs import get_logger
from shared.money import MAX_ATOMIC, atomic_to_usd
from shared.quotes import PROVIDER_DISABLED, Declined, Kind, Quote, QuoteList

log = get_logger(__name__)

GRACE_S = 0.1
"""What one that is told to stop may take to do so; nobody waits for longer."""
MAX_REASON = 300
FAILED_RETRY_S = math.ceil(FAILED_S)
"""When to come back to one that failed; to one that does not sell this, never."""
UNSAMPLED = {"provider", "max_cost_usd", "file_name"}
"""Fields of an ask that say nothing of a price, or are the customer's own."""


@dataclass(frozen=True)
class _Heard:
    """What a provider said. `horizon` is how long that holds."""

    prices: Sequence[Price]
    horizon: Horizon


class QuoteEngine:
    """Compares the prices of `providers`. `valid_s` is how long a price holds at most."""

    def __init__(
        self,
        providers: Sequence[QuoteProvider],
        *,
        network: str,
        deadline_s: float,
        valid_s: int,
        clock: Clock,
        capabilities: Capabilities | None = None,
        measures: Measures | None = None,
    ) -> None:
        self.providers = list(providers)
        self._network = network
        self._deadline_s = deadline_s
        self._valid_s = valid_s
        self._clock = clock
        self._capabilities = capabilities
        self._measures = measures or Measures(clock)

    async def compare(self, kind: Kind, ask: Ask) -> QuoteList:
        """Every provider's answer, the best first.

        Raises `BadRequest` for an `ask.provider` that is not known, or not asked.
        """
        asked = self._asked(kind, ask)
        tasks = {asyncio.create_task(_listen(one, ask), name=one.name): one for one in asked}
        done = await _finished(tasks, self._deadline_s)
        quotes: list[Quote] = []
        declined: list[Declined] = []
        for task, provider in tasks.items():
            answer = self._read(task, provider, ask, on_time=task in done)
            if isinstance(answer, Declined):
                declined.append(answer)
            else:
                quotes.extend(answer)
        records = {provider.name: self._record(provider) for provider in asked}
        ranked, best = select(quotes, records, ask.max_cost_usd)
        return QuoteList(quotes=ranked, best=best, count=len(ranked), declined=declined)

    def _asked(self, kind: Kind, ask: Ask) -> list[QuoteProvider]:
        of_kind = [one for one in self.providers if one.kind == kind]
        if ask.provider is None:
            return [one for one in of_kind if one.disabled is None]
        for provider in of_kind:
            if provider.name == ask.provider:
                if provider.disabled is not None:
                    raise BadRequest(
                        f"{provider.name} is disabled here: {provider.disabled}", code=PROVIDER_DISABLED
                    )
                return [provider]
        known = ", ".join(one.name for one in of_kind if one.disabled is None)
        raise BadRequest(f"unknown {kind} provider; known are {known}", code="unknown_provider")

    def _read(
        self, task: asyncio.Task[_Heard], provider: QuoteProvider, ask: Ask, *, on_time: bool
    ) -> list[Quote] | Declined:
        if not on_time:
            return _declined(provider, f"no answer within {self._deadline_s:g} s", FAILED_RETRY_S)
        try:
            heard = task.result()
            quotes = [self._quote(provider, price, heard.horizon) for price in heard.prices]
            # What cannot be written is this provider's failure, and not that of the whole answer.
            QuoteList(quotes=quotes, count=len(quotes)).model_dump_json()
        except (Exception, asyncio.CancelledError) as exc:
            return _declined(provider, *_why(provider, exc))
        if not quotes:
            return _declined(provider, "it names no price")
        of = ask.model_dump(mode="json", exclude=UNSAMPLED)
        self._measures.priced(provider.kind, provider.name, quotes[0].price_usd, of)
        return quotes

    def _quote(self, provider: QuoteProvider, price: Price, horizon: Horizon) -> Quote:
        if not 0 < price.atomic <= MAX_ATOMIC:
            raise Decline("the price is not a positive amount")
        metadata: dict[str, Any] = dict(price.metadata)
        if price.refusal is not None:
            metadata["unavailable"] = price.refusal.reason
        return Quote(
            provider=price.seller or provider.name,
            kind=provider.kind,
            price_usd=atomic_to_usd(price.atomic),
            price_atomic=price.atomic,
            network=price.network or self._network,
            recipient=price.recipient,
            x402_instructions=price.x402_instructions,
            settle=price.settle,
            valid_until=iso(min(self._clock() + self._valid_s, horizon.until)),
            executable=price.refusal is None,
            refusal=price.refusal,
            metadata=metadata,
            **{name: value for name, value in price.extras.items() if name not in Quote.model_fields},
        )

    def _record(self, provider: QuoteProvider) -> Record:
        """Of its jobs, where the executor told, else of its answers."""
        if self._capabilities is not None:
            jobs = self._capabilities.last(provider.kind, provider.name)
            if jobs.success_rate is not None:
                return Record(jobs.success_rate, jobs.typical_ms, of="jobs")
        probes = self._measures.probes(provider.name)
        return Record(probes.success_rate, probes.typical_ms)


async def _listen(provider: QuoteProvider, ask: Ask) -> _Heard:
    horizon = look()
    return _Heard(await provider.prices(ask), horizon)


async def _finished(tasks: Collection[asyncio.Task[_Heard]], deadline_s: float) -> set[asyncio.Task[_Heard]]:
    """Those that end in time; the others are told to stop."""
    if not tasks:
        return set()
    try:
        done, late = await asyncio.wait(tasks, timeout=deadline_s)
    finally:
        for task in tasks:
            task.cancel()
    if late:
        await asyncio.wait(late, timeout=GRACE_S)
    return done


def _why(provider: QuoteProvider, exc: BaseException) -> tuple[str, int | None]:
    """Why there is no price, in words of ours, and when to come back."""
    if isinstance(exc, Resting):
        return str(exc), exc.retry_after_s
    if isinstance(exc, Decline):
        return str(exc), FAILED_RETRY_S if isinstance(exc, Failed) else None
    if isinstance(exc, ValidationError | PydanticSerializationError):
        log.error("provider_not_understood", provider=provider.name, error=type(exc).__name__)
        return "what it says cannot be told", FAILED_RETRY_S
    log.error("provider_failed", provider=provider.name, kind=provider.kind, exc_info=exc)
    return "the provider failed", FAILED_RETRY_S


def _declined(provider: QuoteProvider, reason: str, retry_after_s: int | None = None) -> Declined:
    text = reason.encode(errors="replace").decode()[:MAX_REASON]
    return Declined(provider=provider.name, kind=provider.kind, reason=text, retry_after_s=retry_after_s)
