"""HTTP of the quote service: parse, ask the engine, answer."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request

from quote.asks import StoreAsk, parse_ask
from quote.capabilities import Needs
from quote.fanout import QuoteEngine
from shared import __version__
from shared.errors import BadRequest
from shared.quotes import ProviderList, ProviderRow, QuoteList

router = APIRouter(tags=["quotes"])
JsonBody = Annotated[dict[str, Any], Body(default_factory=dict)]


class Comparison(QuoteList):
    """All prices for one operation."""

    operation: str


class StoreComparison(Comparison):
    """All prices for storing; `file_size_mb` is in 10^6 bytes."""

    file_size_mb: float


async def _compare(request: Request, operation: Any, fields: dict[str, Any]) -> Comparison | StoreComparison:
    engine: QuoteEngine = request.app.state.engine
    kind, ask = parse_ask(operation, fields)
    found = await engine.compare(kind, ask)
    if isinstance(ask, StoreAsk):
        return StoreComparison(
            **dict(found), operation=kind, file_size_mb=round(ask.file_size_bytes / 1e6, 6)
        )
    return Comparison(**dict(found), operation=kind)


@router.get("/")
async def card(request: Request) -> dict[str, Any]:
    """What this service is."""
    engine: QuoteEngine = request.app.state.engine
    return {
        "service": "galaksio-quote",
        "version": __version__,
        "operations": sorted({provider.kind for provider in engine.providers}),
        "links": {"docs": "/docs", "health": "/health", "providers": "/providers"},
    }


@router.get("/quote")
async def quote_get(
    request: Request,
    *,
    operation: Annotated[str, Query(description="execute, run, compute, store, storage or cache")],
    size: Annotated[str | None, Query(description="small, medium or large; or bytes of code or file")] = None,
    code_size: Annotated[str | None, Query(alias="codeSize", description="bytes of code")] = None,
    language: str | None = None,
    timeout_s: Annotated[str | None, Query(alias="timeout", description="seconds a run may take")] = None,
    dependencies: Annotated[str | None, Query(description="how many packages a run wants")] = None,
) -> Comparison | StoreComparison:
    """Prices by query string: `?operation=execute&size=1024` or `?operation=run&size=large&timeout=10`."""
    fields = {
        "size": size,
        "codeSize": code_size,
        "language": language,
        "timeout": timeout_s,
        "dependencies": dependencies,
    }
    return await _compare(request, operation, {k: v for k, v in fields.items() if v is not None})


@router.post("/quote/run")
@router.post("/quote/compute")
async def quote_run(request: Request, body: JsonBody) -> Comparison:
    """Prices of a run: `{codeSize, language, size, timeout, dependencies, provider}`."""
    return await _compare(request, "run", body)


@router.post("/quote/store")
async def quote_store(request: Request, body: JsonBody) -> Comparison | StoreComparison:
    """Prices of storing: `{fileSize, permanent, ttl, fileName, provider}`."""
    return await _compare(request, "store", body)


@router.post("/quote/cache")
async def quote_cache(request: Request, body: JsonBody) -> Comparison:
    """Prices of a cache: `{region, provider}`."""
    return await _compare(request, "cache", body)


@router.post("/quote/best")
async def quote_best(request: Request, body: JsonBody) -> dict[str, Any]:
    """The one best price for `{operation, …}`, or null with the reasons."""
    fields = dict(body)
    operation = fields.pop("operation", None)
    if operation is None:
        raise BadRequest("operation is required", code="operation_required")
    found = await _compare(request, operation, fields)
    reasons = {q.provider: q.metadata["unavailable"] for q in found.quotes if not q.executable}
    reasons |= {row.provider: row.reason for row in found.declined}
    return {
        "operation": found.operation,
        "best": found.best.model_dump() if found.best else None,
        "considered": found.count + len(found.declined),
        "unavailable": reasons,
    }


@router.get("/providers")
async def providers(request: Request) -> ProviderList:
    """The providers asked here, and whether the executor can do their work now."""
    engine: QuoteEngine = request.app.state.engine
    rows = []
    for provider in engine.providers:
        capability = await request.app.state.capabilities.of(provider.kind, provider.name)
        refusal = capability.refusal(Needs())
        rows.append(
            ProviderRow(
                name=provider.name,
                kind=provider.kind,
                status="available" if capability.broken is None else "unavailable",
                reason=refusal.reason if refusal else None,
                refusal=refusal,
            )
        )
    return ProviderList(providers=rows, count=len(rows))
