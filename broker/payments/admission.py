"""Whether work is taken now: known before a price is named, so that nobody signs a payment for a 503."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from broker.clients import QuoteClient
from shared.errors import BadRequest, GalaksioError, Unavailable
from shared.fresh import Fresh
from shared.logs import get_logger
from shared.quotes import EXECUTOR_BUSY, ProviderList, QuoteList, Refusal

log = get_logger(__name__)

FRESH_S = 0.5
"""How long one answer is believed. Quote's own knowledge is as old again (`quote/capabilities.py`)."""
WAIT_S = 2.0
RETRY_S = 10
"""When to come back to providers that do not say."""


class Admission:
    """Which providers take no work now, by quote's `GET /providers`; all 402s of `FRESH_S` share one."""

    def __init__(self, quotes: QuoteClient, clock: Callable[[], float]) -> None:
        self._quotes = quotes
        self._rows = Fresh(self._ask, clock, FRESH_S)

    async def refusal(self, kind: Any, provider: str) -> Refusal | None:
        """Why this provider takes no work now.

        None also when nobody knows: a price that was told holds without quote, and an executor that cannot
        do the work says so itself, at no charge.
        """
        return (await self._rows.get()).get((kind, provider))

    async def _ask(self) -> dict[tuple[str, str], Refusal | None]:
        try:
            async with asyncio.timeout(WAIT_S):
                response = await self._quotes.forward("GET", "/providers")
            response.raise_for_status()
            rows = ProviderList.model_validate(response.json()).providers
        except (Unavailable, TimeoutError, httpx.HTTPError, ValueError, RecursionError) as exc:
            log.debug("admission_unknown", error=type(exc).__name__)
            return {}
        return {(row.kind, row.name): row.refusal for row in rows}


def nobody_sells(found: QuoteList) -> GalaksioError:
    """What to answer when none of the quotes can be bought.

    503 `executor_busy` when a full executor is all that stands in the way of one of them, 400 when waiting
    would not help any of them, else 503 with the code they agree on or `no_providers`. Whoever sells such
    work to nobody does not count, unless that is everybody.
    """
    refusals = [quote.refusal for quote in found.quotes if quote.refusal is not None]
    reasons = {row.provider: row.reason for row in found.declined}
    reasons |= {quote.provider: str(quote.metadata.get("unavailable", "")) for quote in found.quotes}
    extra = {"providers": reasons}
    waits = [refusal.retry_after_s for refusal in refusals if refusal.retry_after_s is not None]
    failing = [row.retry_after_s for row in found.declined if row.retry_after_s is not None]
    busy = [refusal for refusal in refusals if refusal.code == EXECUTOR_BUSY]
    if busy:
        text = f"{busy[0].reason}; nothing was charged"
        return Unavailable(text, code=EXECUTOR_BUSY, retry_after_s=min(waits), extra=extra)
    if found.declined and not found.quotes and not failing:
        return BadRequest(f"nobody sells this: {found.declined[0].reason}", code="not_sold", extra=extra)
    all_say_why = refusals and len(refusals) == len(found.quotes) and not failing
    if all_say_why and not waits:
        return BadRequest(refusals[0].reason, code=refusals[0].code, extra=extra)
    codes = {refusal.code for refusal in refusals} if all_say_why else set()
    return Unavailable(
        "No providers available",
        code=codes.pop() if len(codes) == 1 else "no_providers",
        retry_after_s=min([*waits, *failing], default=RETRY_S),
        extra=extra,
    )
