"""Ask all providers at once under one deadline, and rank what they say."""

import asyncio
from collections.abc import Sequence
from typing import Any

from quote.asks import Ask
from quote.providers.base import Decline, Price, QuoteProvider
from shared.clock import Clock, iso
from shared.errors import BadRequest
from shared.logs import get_logger
from shared.money import MAX_ATOMIC, atomic_to_usd
from shared.quotes import Declined, Kind, Quote, QuoteList

log = get_logger(__name__)


class QuoteEngine:
    """Compares the prices of `providers`. `valid_s` is how long a price holds."""

    def __init__(
        self,
        providers: Sequence[QuoteProvider],
        *,
        network: str,
        deadline_s: float,
        valid_s: int,
        clock: Clock,
    ) -> None:
        self.providers = list(providers)
        self._network = network
        self._deadline_s = deadline_s
        self._valid_s = valid_s
        self._clock = clock

    async def compare(self, kind: Kind, ask: Ask) -> QuoteList:
        """Every provider's answer, cheapest first. Raises `BadRequest` for an unknown `ask.provider`."""
        asked = self._asked(kind, ask)
        tasks = {
            asyncio.create_task(provider.prices(ask), name=provider.name): provider for provider in asked
        }
        done, late = await asyncio.wait(tasks, timeout=self._deadline_s) if tasks else (set(), set())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        quotes: list[Quote] = []
        declined: list[Declined] = []
        for task, provider in tasks.items():
            answer = self._read(task, provider, on_time=task in done)
            if isinstance(answer, Declined):
                declined.append(answer)
            else:
                quotes.extend(answer)
        quotes.sort(key=lambda quote: (not quote.executable, quote.price_atomic, quote.provider))
        best = quotes[0] if quotes and quotes[0].executable else None
        return QuoteList(quotes=quotes, best=best, count=len(quotes), declined=declined)

    def _asked(self, kind: Kind, ask: Ask) -> list[QuoteProvider]:
        of_kind = [one for one in self.providers if one.kind == kind and one.disabled is None]
        if ask.provider is None:
            return of_kind
        named = [provider for provider in of_kind if provider.name == ask.provider]
        if not named:
            known = ", ".join(provider.name for provider in of_kind)
            raise BadRequest(f"unknown {kind} provider; known are {known}", code="unknown_provider")
        return named

    def _read(
        self, task: asyncio.Task[Sequence[Price]], provider: QuoteProvider, *, on_time: bool
    ) -> list[Quote] | Declined:
        if not on_time:
            return Declined(
                provider=provider.name, kind=provider.kind, reason=f"no answer within {self._deadline_s:g} s"
            )
        try:
            return [self._quote(provider, price) for price in task.result()]
        except Decline as exc:
            return Declined(provider=provider.name, kind=provider.kind, reason=str(exc))
        except Exception:
            log.exception("provider_failed", provider=provider.name, kind=provider.kind)
            return Declined(provider=provider.name, kind=provider.kind, reason="the provider failed")

    def _quote(self, provider: QuoteProvider, price: Price) -> Quote:
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
            valid_until=iso(self._clock() + self._valid_s),
            executable=price.refusal is None,
            refusal=price.refusal,
            metadata=metadata,
            **price.extras,
        )
