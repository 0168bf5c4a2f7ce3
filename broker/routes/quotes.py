"""Free price comparison, as the quote service answers it, and who is asked for prices."""

import re
from typing import Any

import httpx
from fastapi import APIRouter, Request
from fastapi.responses import Response

from broker.bodies import small_body
from broker.clients import QuoteClient
from shared.errors import GalaksioError, Unavailable
from shared.openapi import Responses, json_request, refusals
from shared.quotes import Best, Comparison, Hybrid, ProviderList, StoreComparison

router = APIRouter(tags=["quotes"])

MAX_ASK_BYTES = 64 * 1024
MAX_QUERY_BYTES = 8 * 1024
OPERATIONS = ("store", "storage", "run", "compute", "execute", "cache", "best")
_PASSED_ON = ("content-type", "vary")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.ASCII | re.IGNORECASE)
EXAMPLE = {"operation": "run", "codeSize": 2048, "language": "python", "size": "small", "timeout": 10}
BODY = json_request({"type": "object"}, EXAMPLE, required=False)
QUERY = {
    "parameters": [
        {"name": name, "in": "query", "schema": schema}
        for name, schema in {
            "operation": {"type": "string", "enum": [*OPERATIONS[:-1], "hybrid"]},
            "language": {"type": "string"},
            "codeSize": {"type": "integer", "minimum": 0, "description": "Bytes"},
            "timeout": {"type": "number", "exclusiveMinimum": 0, "description": "Seconds"},
            "size": {"description": "Of a run small, medium or large; bytes of what is stored"},
            "fileSize": {"type": "integer", "minimum": 0, "description": "Bytes"},
            "permanent": {"type": "boolean"},
            "ttl": {"type": "integer", "minimum": 1, "description": "Seconds"},
            "region": {"type": "string"},
            "operations": {"type": "integer", "minimum": 1},
            "provider": {"type": "string"},
            "maxCostUsd": {"type": "number", "minimum": 0},
        }.items()
    ]
}
REFUSED: Responses = refusals(
    {
        400: "Nothing that can be priced",
        413: "A body over 64 KB",
        414: "A query over 8 KB",
        422: "The body is not a JSON object",
        503: "Prices cannot be named now",
    }
)
TABLES = {kind: {"schema": {"type": "string"}} for kind in ("text/csv", "text/markdown")}


def _answers(operation: str) -> dict[str, Any]:
    """What is answered about `operation`, empty for whatever the fields say: a model, and the statuses."""
    if operation == "best":
        return {"response_model": Best, "responses": REFUSED}
    compared = {
        "description": "All prices, best first, and who named none and why. JSON, or a table by `Accept`",
        "content": TABLES,
    }
    model = StoreComparison | Comparison if operation else Hybrid | StoreComparison | Comparison
    return {"response_model": model, "responses": {200: compared, **REFUSED}}


async def by_query(request: Request) -> Response:
    """Prices by query string: `?operation=run&size=large&timeout=10`. As JSON, CSV or Markdown (`Accept`)."""
    return await _forwarded(request, b"")


async def by_body(request: Request) -> Response:
    """Prices by a JSON body: of one operation as the path names it, or as the fields say."""
    return await _forwarded(request, await small_body(request, MAX_ASK_BYTES))


for _root in ("", "/v2"):
    for _operation in ("", *OPERATIONS):
        _path = f"{_root}/quote/{_operation}".rstrip("/")
        _more: dict[str, Any] = {**_answers(_operation), "include_in_schema": not _root}
        router.add_api_route(_path, by_query, methods=["GET"], openapi_extra=QUERY, **_more)
        router.add_api_route(_path, by_body, methods=["POST"], openapi_extra=BODY, **_more)


@router.get("/providers", responses=refusals({503: "The providers are not known now"}))
async def providers(request: Request) -> ProviderList:
    """Who is asked for prices, and whether their work can be bought now."""
    quotes: QuoteClient = request.app.state.quotes
    answer = await quotes.forward("GET", "/providers")
    try:
        answer.raise_for_status()
        # Addresses of neighbours are nobody's business; they may stand in what one of them said.
        return ProviderList.model_validate_json(_URL.sub("(address)", answer.text))
    except (httpx.HTTPError, ValueError):
        raise Unavailable("the providers are not known now", code="quote_unavailable") from None


async def _forwarded(request: Request, body: bytes) -> Response:
    """What the quote service says to the same question, with no more of its headers than says what it is."""
    quotes: QuoteClient = request.app.state.quotes
    if len(request.scope["query_string"]) > MAX_QUERY_BYTES:
        raise GalaksioError("the query string is over 8 KB", status=414, code="query_too_long")
    accept = request.headers.get("accept", "*/*").encode("ascii", "ignore").decode()
    answer = await quotes.forward(
        request.method,
        request.scope["route"].path,
        params=request.query_params.multi_items(),
        content=body,
        headers={"Accept": accept, **({"Content-Type": "application/json"} if body else {})},
    )
    passed_on = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
    return Response(answer.content, answer.status_code, headers=passed_on)
