"""Price = provider price + broker fee, named once per request and kept (payments.md §2)."""

import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from broker.clients import QuoteClient
from broker.operations import Mode, Operation, Work
from broker.payments.admission import Admission
from broker.payments.checks import SETTLE_MARGIN_S
from broker.payments.choice import best_quote, instructed_quote, quote_to_keep
from broker.payments.offers import Offer, OfferBook, request_hash
from shared.errors import BadRequest, Unavailable
from shared.fresh import Fresh
from shared.money import MAX_ATOMIC, atomic_to_usd, usd_to_atomic
from shared.quotes import EXECUTOR_BUSY, Refusal
from shared.store import UrlInfo

QUEUE_S = 30
"""How long a run may wait for a slot before it is refused."""
THINK_S = 150
"""How long a client may look at the price before it signs, and still have a long enough window."""
MENU_FRESH_S = 60.0


Measure = Callable[[str], Awaitable[UrlInfo]]
"""Looks at a customer's address."""


async def _nobody_looks(_: str) -> UrlInfo:
    raise Unavailable("addresses cannot be looked at here", code="no_providers")


class Pricing:
    """Names the price of a request, the same one until the offer expires. `clock` is in seconds.

    `free`: nobody pays here. `mode` is what a request gets that asks for none.
    """

    def __init__(
        self,
        quotes: QuoteClient,
        offers: OfferBook,
        fee_atomic: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        measure: Measure = _nobody_looks,
        free: bool = False,
        mode: Mode = "execute",
    ) -> None:
        self._quotes = quotes
        self._measure = measure
        self._offers = offers
        self._fee_atomic = fee_atomic
        self._free = free
        self._mode = mode
        self._clock = clock
        self._admission = Admission(quotes, clock)
        self._menus: dict[str, Fresh[list[dict[str, Any]]]] = {}

    async def offer(
        self, operation: Operation, work: Work, hash_: str, *, work_is_done: bool = False
    ) -> Offer:
        """The current offer for this request, or a new one.

        `work_is_done`: only its result is still to be paid for, so that a full executor does not matter.
        Raises `Unavailable` when no provider can do the work now (or quote does not answer) and
        `BadRequest` when none ever will, or the price is over the client's own `maxCostUsd`.
        """
        offer = await self._offers.current(hash_)
        if offer is None or (not work_is_done and await self._refusal(offer) is not None):
            offer = await self._make(operation, work, hash_, busy_too=work_is_done)
        if work.max_cost_usd is not None and offer.price_atomic > usd_to_atomic(work.max_cost_usd):
            raise BadRequest(
                f"the price is ${atomic_to_usd(offer.price_atomic)}, over maxCostUsd",
                code="max_cost_exceeded",
            )
        return offer

    async def starting_offer(self, operation: Operation, method: str, route: str) -> Offer:
        """The least this operation can cost, for crawlers; it can be shown but never paid.

        A full executor does not take it away. Raises `Unavailable` when nobody does this work.
        """
        hash_ = request_hash(method, route, None)
        offer = await self._offers.current(hash_)
        if offer is not None:
            refusal = await self._refusal(offer)
            if refusal is None or refusal.code == EXECUTOR_BUSY:
                return offer
        work = Work(meaning={}, ask=operation.starting_ask, task={}, time_limit_s=1)
        return await self._make(operation, work, hash_, busy_too=True)

    async def menu(self, operation: Operation) -> list[dict[str, Any]]:
        """What the operation's usual forms cost, the fee included, as of the last minute.

        A form that is never sold here is left out. Raises `Unavailable` when nobody can name prices now.
        """
        if operation.name not in self._menus:
            ask = partial(self._ask_menu, operation)
            self._menus[operation.name] = Fresh(ask, self._clock, MENU_FRESH_S)
        return await self._menus[operation.name].get()

    def with_fee(self, provider_atomic: int) -> int:
        total = provider_atomic + self._fee_atomic
        if not 0 < total <= MAX_ATOMIC:
            raise Unavailable("No providers available", code="no_providers")
        return total

    async def _refusal(self, offer: Offer) -> Refusal | None:
        return await self._admission.refusal(offer.quote.get("kind"), offer.provider)

    async def _make(self, operation: Operation, work: Work, hash_: str, *, busy_too: bool = False) -> Offer:
        ask = work.ask
        if work.url is not None:
            ask = {**ask, "fileSize": await self._size_at(work.url)}
        found = await self._quotes.compare(operation.quote_path, ask)
        if (work.mode or self._mode) == "instructions":
            quote, kept = instructed_quote(found)
            price_atomic = max(1, self._fee_atomic)
        else:
            quote = best_quote(found, free=self._free, busy_too=busy_too)
            kept, price_atomic = quote_to_keep(quote, found, work), self.with_fee(quote.price_atomic)
        if work.url is not None:
            # What was priced is all that will be fetched.
            kept["metadata"] = {**kept.get("metadata", {}), "file_size_bytes": ask["fileSize"]}
        return await self._offers.make(
            hash_,
            price_atomic,
            kept,
            math.ceil(work.transfer_s + work.time_limit_s) + QUEUE_S + SETTLE_MARGIN_S + THINK_S,
            good_until_ms=None if quote.settle == "after" else _unix_ms(quote.valid_until),
        )

    async def _size_at(self, url: str) -> int:
        """What an address says of its size. Raises `BadRequest` when it does not say."""
        measured = await self._measure(url)
        if measured.size_bytes is None:
            raise BadRequest(
                "the address does not say how large its content is, so it cannot be priced: "
                "upload the content instead",
                code="size_unknown",
            )
        return measured.size_bytes

    async def _ask_menu(self, operation: Operation) -> list[dict[str, Any]]:
        menu = []
        for form in operation.menu:
            found = await self._quotes.compare(operation.quote_path, form)
            with suppress(BadRequest):  # this form is never sold here
                price_atomic = self.with_fee(best_quote(found, free=self._free, busy_too=True).price_atomic)
                price = {"priceAtomic": str(price_atomic), "priceUsd": atomic_to_usd(price_atomic)}
                menu.append({**form, **price})
        return menu


def _unix_ms(text: str) -> int | None:
    """What quote wrote as a time; None for anything else, which then bounds nothing."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
