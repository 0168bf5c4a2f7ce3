"""Price = provider price + broker fee, named once per request and kept (payments.md §2)."""

import math

from broker.clients import QuoteClient
from broker.payments.checks import SETTLE_MARGIN_S
from broker.payments.offers import Offer, OfferBook, request_hash
from broker.payments.operations import Operation, Work
from shared.errors import BadRequest, Unavailable
from shared.money import MAX_ATOMIC, atomic_to_usd, usd_to_atomic
from shared.quotes import Quote, QuoteList

QUEUE_S = 30
"""How long a run may wait for a slot before it is refused."""
THINK_S = 150
"""How long a client may look at the price before it signs, and still have a long enough window."""


class Pricing:
    """Names the price of a request, the same one until the offer expires."""

    def __init__(self, quotes: QuoteClient, offers: OfferBook, fee_atomic: int) -> None:
        self._quotes = quotes
        self._offers = offers
        self._fee_atomic = fee_atomic

    async def offer(self, operation: Operation, work: Work, hash_: str) -> Offer:
        """The current offer for this request, or a new one.

        Raises `Unavailable` when no provider can do the work now (or quote does not answer) and
        `BadRequest` when the price is over the client's own `maxCostUsd`.
        """
        offer = await self._offers.current(hash_)
        if offer is None:
            quote = self._best(await self._quotes.compare(operation.quote_path, work.ask))
            offer = await self._offers.make(
                hash_,
                self.with_fee(quote.price_atomic),
                quote.provider,
                quote.model_dump(mode="json", exclude_none=True),
                math.ceil(work.time_limit_s) + QUEUE_S + SETTLE_MARGIN_S + THINK_S,
            )
        if work.max_cost_usd is not None and offer.price_atomic > usd_to_atomic(work.max_cost_usd):
            raise BadRequest(
                f"the price is ${atomic_to_usd(offer.price_atomic)}, over maxCostUsd",
                code="max_cost_exceeded",
            )
        return offer

    async def starting_offer(self, operation: Operation, method: str, route: str) -> Offer:
        """The least this operation can cost, for crawlers; it can be shown but never paid."""
        work = Work(meaning={}, ask=operation.starting_ask, task={}, time_limit_s=1)
        return await self.offer(operation, work, request_hash(method, route, None))

    def with_fee(self, provider_atomic: int) -> int:
        total = provider_atomic + self._fee_atomic
        if not 0 < total <= MAX_ATOMIC:
            raise Unavailable("No providers available", code="no_providers")
        return total

    @staticmethod
    def _best(found: QuoteList) -> Quote:
        if found.best is not None and found.best.executable:
            return found.best
        reasons = {row.provider: row.reason for row in found.declined}
        reasons |= {quote.provider: str(quote.metadata.get("unavailable", "")) for quote in found.quotes}
        raise Unavailable(
            "No providers available", code="no_providers", retry_after_s=10, extra={"providers": reasons}
        )
