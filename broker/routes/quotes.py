"""Free price comparison, as the quote service answers it, and who is asked for prices."""

import re
from typing import Any

import httpx
from fastapi import APIRouter, Request
from fastapi.responses import Response

from broker.bodies import small_body
from broker.clients import QuoteClient
from broker.routes.schemas import ErrorBody
from shared.errors import GalaksioError, Unavailable
from shared.quotes import ProviderList

router = APIRouter(tags=["quotes"])

MAX_ASK_BYTES = 64 * 1024
MAX_QUERY_BYTES = 8 * 1024
OPERATIONS = ("store", "storage", "run", "compute", "execute", "cache", "best")
_PASSED_ON = ("content-type", "vary")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.ASCII | re.IGNORECASE)
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "All prices, best first, and who named none and why",
        "content": {kind: {} for kind in ("application/json", "text/csv", "text/markdown")},
    },
    400: {"model": ErrorBody, "description": "Nothing that can be priced"},
    503: {"model": ErrorBody, "description": "Prices cannot be named now"},
}


async def by_query(request: Request) -> Response:
    """Prices by query string: `?operation=run&size=large&timeout=10`. As JSON, CSV or Markdown (`Accept`)."""
    return await _forwarded(request, b"")


async def by_body(request: Request) -> Response:
    """Prices by a JSON body: of one operation as the path names it, or as the fields say."""
    return await _forwarded(request, await small_body(request, MAX_ASK_BYTES))


for _root in ("", "/v2"):
    for _path in (f"{_root}/quote", *(f"{_root}/quote/{operation}" for operation in OPERATIONS)):
        _more: dict[str, Any] = {"responses": ANSWERS, "include_in_schema": not _root}
        router.add_api_route(_path, by_query, methods=["GET"], **_more)
        router.add_api_route(_path, by_body, methods=["POST"], **_more)


@router.get("/providers", responses={503: ANSWERS[503]})
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
