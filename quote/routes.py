"""HTTP of the quote service: parse, ask the engine, answer."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from fastapi.responses import Response

from quote.answers import Answer, Answers, ToldAgain, key_of
from quote.asks import ASKS
from quote.comparisons import compare, compare_inferred, earliest_end
from quote.fanout import QuoteEngine
from quote.negotiation import preferred
from quote.rows import provider_rows
from quote.tables import csv_table, markdown_table
from shared import __version__
from shared.clock import iso
from shared.errors import BadRequest, GalaksioError
from shared.openapi import REFERENCE, Responses, json_request, refusals
from shared.quotes import OPERATIONS, Best, Comparison, Hybrid, ProviderList, StoreComparison

OneKind = StoreComparison | Comparison
AnyKind = Hybrid | OneKind
JSON, CSV, MARKDOWN = "application/json", "text/csv", "text/markdown"
TABLES = {CSV: csv_table, MARKDOWN: markdown_table}

router = APIRouter(tags=["quotes"], route_class=ToldAgain)
card_router = APIRouter(tags=["quotes"], route_class=ToldAgain)
JsonBody = Annotated[dict[str, Any], Body(default_factory=dict)]


def _fields() -> dict[str, Any]:
    """The fields of all asks: what a query, or a body without `operation`, may say."""
    schemas: dict[str, Any] = {"operation": {"type": "string", "enum": [*OPERATIONS, "hybrid"]}}
    for ask in ASKS.values():
        schemas = {**ask.model_json_schema()["properties"], **schemas}
    return schemas


def _query(*without: str) -> dict[str, Any]:
    asked = {name: schema for name, schema in _fields().items() if name not in without}
    return {"parameters": [{"name": name, "in": "query", "schema": asked[name]} for name in asked]}


QUERY, ONE_QUERY = _query(), _query("operation")
ANY_BODY = json_request(
    {"type": "object", "properties": _fields()},
    {"operation": "run", "codeSize": 2048, "language": "python", "size": "small", "timeout": 10},
    required=False,
)
ONE_BODY = json_request(
    {"type": "object", "anyOf": [ask.model_json_schema(ref_template=REFERENCE) for ask in ASKS.values()]},
    {"fileSize": 5_000_000, "permanent": False, "ttl": 86_400},
    required=False,
)
REFUSED: Responses = refusals({400: "Nothing that can be priced: an unknown operation, or a wrong field"})
COMPARED: Responses = {
    200: {
        "content": {CSV: {"schema": {"type": "string"}}, MARKDOWN: {"schema": {"type": "string"}}},
        "description": "All prices, best first, and who named none and why. JSON, or a table by `Accept`",
        "headers": {"Vary": {"required": True, "schema": {"type": "string"}}},
    },
    **REFUSED,
}
ONE_COMPARED: Responses = {**COMPARED, **refusals({404: "No such operation"})}


@card_router.get("/")
async def card(request: Request) -> dict[str, Any]:
    """What this service is."""
    engine: QuoteEngine = request.app.state.engine
    return {
        "service": "galaksio-quote",
        "version": __version__,
        "operations": sorted({one.kind for one in engine.providers if one.disabled is None}),
        "links": {"docs": "/docs", "health": "/health", "providers": "/providers", "quote": "/quote"},
    }


@card_router.get("/providers")
async def providers(request: Request) -> ProviderList:
    """The providers: whether they work, whether the executor can do their work now, what was measured."""
    state = request.app.state
    return await provider_rows(state.engine.providers, state.capabilities, state.market)


@router.get("/quote", response_model=AnyKind, responses=COMPARED, openapi_extra=QUERY)
async def quote_get(request: Request) -> Response:
    """Prices by query: `?operation=execute&size=1024`, `?operation=store&fileSize=5000000&permanent=true`.

    Without `operation` the fields say what is wanted, as in a POST.
    """
    return await _answer(
        request, lambda: compare_inferred(request.app.state.engine, dict(request.query_params))
    )


@router.post("/quote", response_model=AnyKind, responses=COMPARED, openapi_extra=ANY_BODY)
async def quote_post(request: Request, body: JsonBody) -> Response:
    """Prices of what the fields, or `operation`, say that is wanted."""
    return await _answer(request, lambda: compare_inferred(request.app.state.engine, body))


@router.get("/quote/best", response_model=Best, responses=REFUSED, openapi_extra=QUERY)
async def quote_best_get(request: Request) -> dict[str, Any]:
    """The one best price for `?operation=…`, or null, and why each other one is not the best."""
    return await _best(request, dict(request.query_params))


@router.post("/quote/best", response_model=Best, responses=REFUSED, openapi_extra=ANY_BODY)
async def quote_best(request: Request, body: JsonBody) -> dict[str, Any]:
    """The one best price for `{operation, …}`, or null, and why each other one is not the best."""
    return await _best(request, body)


@router.get("/quote/{operation}", response_model=OneKind, responses=ONE_COMPARED, openapi_extra=ONE_QUERY)
async def quote_one_get(request: Request, operation: str) -> Response:
    """Prices of one operation by query: `/quote/store?fileSize=5000000&permanent=true`."""
    return await _one(request, operation, dict(request.query_params))


@router.post("/quote/{operation}", response_model=OneKind, responses=ONE_COMPARED, openapi_extra=ONE_BODY)
async def quote_one(request: Request, operation: str, body: JsonBody) -> Response:
    """Prices of one operation: run, execute, compute, store, storage or cache.

    - run: `{codeSize, language, size, timeout, dependencies, provider, maxCostUsd}`
    - store: `{fileSize, permanent, ttl, fileName, provider, maxCostUsd}`
    - cache: `{region, operations, provider, maxCostUsd}`, or `{size_mb, operation, ttl_hours}`
    """
    return await _one(request, operation, body)


async def _one(request: Request, operation: str, fields: dict[str, Any]) -> Response:
    if operation not in OPERATIONS:
        raise GalaksioError(f"no such route; there are {', '.join(OPERATIONS)}", status=404, code="not_found")
    return await _answer(request, lambda: compare(request.app.state.engine, operation, fields))


async def _best(request: Request, fields: dict[str, Any]) -> dict[str, Any]:
    operation = fields.get("operation")
    if operation is None:
        raise BadRequest(f"operation is required: {', '.join(OPERATIONS)}", code="operation_required")
    found = await compare(request.app.state.engine, operation, fields)
    declined = {row.provider: row.reason for row in found.declined}
    return {
        "operation": found.operation,
        "best": found.best.model_dump() if found.best else None,
        "considered": found.count + len(found.declined),
        "unavailable": {q.provider: q.not_chosen for q in found.quotes if not q.executable} | declined,
        "not_chosen": {q.provider: q.not_chosen for q in found.quotes if q.not_chosen is not None} | declined,
    }


async def _answer(request: Request, comparing: Callable[[], Awaitable[AnyKind]]) -> Response:
    """What `comparing` finds, in the form that is wanted; kept for a moment for equal requests."""
    answers: Answers = request.app.state.answers
    state = answers.state()
    found = await comparing()
    answer = _written(found, preferred(request.headers.get("accept", ""), (JSON, *TABLES)))
    until = request.app.state.capabilities.fresh_until
    if earliest_end(found) > iso(until):
        answers.keep(await key_of(request), answer, until, state)
    return answer.response()


def _written(found: AnyKind, media_type: str) -> Answer:
    table = TABLES.get(media_type)
    text = found.model_dump_json() if table is None else table(found.lists())
    return Answer(text.encode(), media_type)
