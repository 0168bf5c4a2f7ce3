"""What is compared for one request: one kind of work, or compute and storage together."""

import asyncio
from decimal import Decimal
from typing import Any

from quote.asks import RunAsk, StoreAsk, is_number, kinds_asked, parse, parse_ask
from quote.fanout import QuoteEngine
from shared.clock import iso
from shared.money import USD_DECIMALS, atomic_to_usd
from shared.quotes import Comparison, Hybrid, QuoteList, StoreComparison


async def compare(engine: QuoteEngine, operation: Any, fields: dict[str, Any]) -> Comparison:
    """All prices for `operation`. Raises `BadRequest`."""
    kind, ask = parse_ask(operation, fields)
    found = await engine.compare(kind, ask)
    if isinstance(ask, StoreAsk):
        return _stored(ask, found)
    return Comparison(**dict(found), operation=kind)


async def compare_inferred(engine: QuoteEngine, fields: dict[str, Any]) -> Comparison | Hybrid:
    """All prices for what the fields say that is wanted. Raises `BadRequest`."""
    kinds = kinds_asked(fields)
    if len(kinds) == 1:
        return await compare(engine, kinds[0], fields)
    # Both are read before anybody is asked.
    run, store = parse(RunAsk, _for_run(fields)), parse(StoreAsk, _for_storing(fields))
    compute, storage = await asyncio.gather(engine.compare("compute", run), engine.compare("storage", store))
    return _together(
        Comparison(**dict(compute), operation="compute"), _stored(store, storage), run.max_cost_usd
    )


def earliest_end(found: Comparison | Hybrid) -> str:
    """When the first of its prices ends."""
    return min((quote.valid_until for one in found.lists() for quote in one.quotes), default=iso(0))


def _stored(ask: StoreAsk, found: QuoteList) -> StoreComparison:
    file_size_mb = round(ask.file_size_bytes / 1e6, 6)
    return StoreComparison(**dict(found), operation="storage", file_size_mb=file_size_mb)


def _for_run(fields: dict[str, Any]) -> dict[str, Any]:
    """A number for `size` is the file's."""
    return {k: v for k, v in fields.items() if k != "size"} if is_number(fields.get("size")) else fields


def _for_storing(fields: dict[str, Any]) -> dict[str, Any]:
    """A name for `size` is the run's."""
    return fields if is_number(fields.get("size")) else {k: v for k, v in fields.items() if k != "size"}


def _together(compute: Comparison, storage: StoreComparison, max_cost_usd: Decimal | None) -> Hybrid:
    if compute.best is None or storage.best is None:
        missing = "compute" if compute.best is None else "storage"
        return Hybrid(compute=compute, storage=storage, reason=f"no {missing} can be bought now")
    total = compute.best.price_atomic + storage.best.price_atomic
    over = max_cost_usd is not None and Decimal(total) > max_cost_usd.scaleb(USD_DECIMALS)
    return Hybrid(
        compute=compute,
        storage=storage,
        total_price_usd=atomic_to_usd(total),
        total_price_atomic=total,
        reason="together they are over maxCostUsd" if over else None,
    )
