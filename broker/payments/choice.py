"""Which quote is bought, and who comes next when its provider fails."""

from typing import Any

from broker.operations import Mode, Work
from broker.payments.admission import nobody_sells
from shared.quotes import EXECUTOR_BUSY, Quote, QuoteList

MOST_ALTERNATIVES = 4
_COMPARED = {"provider", "price_usd", "price_atomic", "network", "recipient", "executable", "valid_until"}


def best_quote(found: QuoteList, *, free: bool = False, busy_too: bool = False) -> Quote:
    """The quote to buy. Raises what `nobody_sells` makes of it when there is none.

    `free`: nobody pays for the work, so that nobody else can be paid for it either. With `busy_too`, a price
    that only waits for a place in the queue counts as well.
    """
    for quote in _buyable(found, free=free):
        return quote
    for quote in found.quotes if busy_too else ():
        if quote.refusal is not None and quote.refusal.code == EXECUTOR_BUSY:
            return quote
    raise nobody_sells(found)


def quote_to_keep(chosen: Quote, found: QuoteList, work: Work) -> dict[str, Any]:
    """The chosen quote as it is kept with the offer, with the `alternatives` if its provider fails.

    There are none where the customer named the provider. They are in the order in which they are asked.
    """
    kept = chosen.model_dump(mode="json", exclude_none=True)
    if work.provider is not None:
        return kept
    others = [quote for quote in _buyable(found) if quote.provider != chosen.provider]
    alternatives = [{"provider": one.provider, "settle": one.settle} for one in others]
    return {**kept, "alternatives": alternatives[:MOST_ALTERNATIVES]}


def instructed_quote(found: QuoteList) -> tuple[Quote, dict[str, Any]]:
    """The cheapest provider whom the customer can pay without us, and the quote as it is kept.

    Whether the executor could have paid it is no matter. What is sold is the advice, settled after it.
    """
    payable = [quote for quote in found.quotes if quote.x402_instructions is not None]
    if not payable:
        raise nobody_sells(found)
    chosen = min(payable, key=lambda quote: quote.price_atomic)
    mode: Mode = "instructions"
    compared = [quote.model_dump(mode="json", include=_COMPARED) for quote in found.quotes]
    kept = chosen.model_dump(mode="json", exclude_none=True)
    return chosen, {**kept, "settle": "after", "fulfilment": mode, "all_quotes": compared}


def alternatives_to(quote: dict[str, Any], provider: str, *, paid_ahead: bool) -> list[str]:
    """Who else may do the job that `provider` failed at, best first, by the quote that was kept.

    Only work that is paid for already may be given to somebody who is paid for it.
    """
    listed = quote.get("alternatives", [])
    order = [quote.get("provider"), *(one["provider"] for one in listed)]
    after = order.index(provider) if provider in order else len(order)
    return [one["provider"] for one in listed[after:] if paid_ahead or one["settle"] == "after"]


def _buyable(found: QuoteList, *, free: bool = False) -> list[Quote]:
    """What can be bought now, the best first."""
    best = [] if found.best is None else [found.best]
    known = {quote.provider for quote in best}
    others = [quote for quote in found.quotes if quote.provider not in known]
    executable = [quote for quote in [*best, *others] if quote.executable]
    return [quote for quote in executable if not (free and quote.settle == "before")]
