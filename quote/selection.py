"""Which price is the best, and why each other one is not: constraints, price, record, speed, name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from shared.money import USD_DECIMALS, atomic_to_usd
from shared.quotes import Quote

_NEVER_MEASURED_MS = 2**31


@dataclass(frozen=True)
class Record:
    """How a provider did lately: the part of its jobs that went well, and how long one took.

    Before its first job the same of its answers; None is not measured.
    """

    success_rate: float | None = None
    typical_ms: int | None = None
    of: Literal["jobs", "answers"] = "answers"

    @property
    def rate(self) -> float:
        return 1.0 if self.success_rate is None else self.success_rate


UNKNOWN = Record()


def select(
    quotes: Sequence[Quote], records: Mapping[str, Record], max_cost_usd: Decimal | None = None
) -> tuple[list[Quote], Quote | None]:
    """The quotes in the order of choice, each with the reason why it is not the best, and the best.

    One that cannot be bought, or is over `max_cost_usd`, is never the best. What was never measured does not
    speak against a provider. `records` are by the name of the provider.
    """

    def rank(quote: Quote) -> tuple[bool, bool, int, float, int, str]:
        record = records.get(quote.provider, UNKNOWN)
        speed_ms = _NEVER_MEASURED_MS if record.typical_ms is None else record.typical_ms
        over = is_over(quote, max_cost_usd)
        return (not quote.executable, over, quote.price_atomic, -record.rate, speed_ms, quote.provider)

    ranked = sorted(quotes, key=rank)
    first = ranked[0] if ranked else None
    if first is None or not first.executable or is_over(first, max_cost_usd):
        return [_not_chosen(quote, None, records, max_cost_usd) for quote in ranked], None
    best = first.model_copy(update={"not_chosen": None})
    return [best, *(_not_chosen(quote, best, records, max_cost_usd) for quote in ranked[1:])], best


def is_over(quote: Quote, max_cost_usd: Decimal | None) -> bool:
    return max_cost_usd is not None and Decimal(quote.price_atomic) > max_cost_usd.scaleb(USD_DECIMALS)


def _not_chosen(
    quote: Quote, best: Quote | None, records: Mapping[str, Record], max_cost_usd: Decimal | None
) -> Quote:
    if not quote.executable:
        reason = quote.refusal.reason if quote.refusal else "it cannot be bought here"
    elif is_over(quote, max_cost_usd):
        reason = "its price is over maxCostUsd"
    elif best is not None:
        reason = _compared(quote, best, records)
    else:
        raise ValueError("a price that can be bought is not chosen only for another one")
    return quote.model_copy(update={"not_chosen": reason})


def _compared(quote: Quote, best: Quote, records: Mapping[str, Record]) -> str:
    """What speaks for `best`, with the figures."""
    more = quote.price_atomic - best.price_atomic
    if more:
        return f"costs ${atomic_to_usd(more)} more than {best.provider}"
    same = f"the same price as {best.provider}, but"
    own, other = records.get(quote.provider, UNKNOWN), records.get(best.provider, UNKNOWN)
    if own.rate < other.rate:
        return f"{same} {1 - own.rate:.0%} of its {own.of} failed lately"
    if own.typical_ms != other.typical_ms:
        if own.typical_ms is None:
            return f"{same} nobody knows how fast it is"
        return f"{same} slower: {own.typical_ms} ms against {other.typical_ms} ms"
    return f"{same} its name comes later"
