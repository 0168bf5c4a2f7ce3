"""Stored content, free for everybody who knows its content id: `GET /files/{cid}`, `GET /ipfs/{cid}`."""

from collections.abc import AsyncIterator

import httpx
from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse

from shared.errors import BadRequest, Unavailable
from shared.ipfs import parse_cid
from shared.logs import get_logger, request_id
from shared.served_content import ANSWERS, PARAMETERS

router = APIRouter(tags=["storage"])
log = get_logger(__name__)

_ASKED = (b"range", b"if-range", b"if-none-match", b"if-modified-since", b"accept")
# What the executor says of content passes; anything else of its headers does not (payments.md §5).
_TOLD = (
    "accept-ranges",
    "cache-control",
    "content-disposition",
    "content-length",
    "content-range",
    "content-security-policy",
    "content-type",
    "cross-origin-resource-policy",
    "etag",
    "retry-after",
    "vary",
    "x-content-type-options",
    "x-ipfs-path",
    "x-ipfs-roots",
)
_SAID = frozenset({200, 206, 304, 400, 404, 410, 416, 503})
"""What the executor answers about content; anything else is between it and us."""


@router.get(
    "/files/{cid}",
    responses=ANSWERS,
    openapi_extra={"parameters": PARAMETERS},
    response_class=Response,
)
@router.head("/files/{cid}", include_in_schema=False)
@router.api_route("/ipfs/{cid}", methods=["GET", "HEAD"], include_in_schema=False)
async def content(cid: str, request: Request) -> Response:
    """The content, whole or in part; `?format=raw` or `car` to check it against its content id."""
    client: httpx.AsyncClient = request.app.state.files
    # Byte for byte: what is no ASCII is no reason to fail, and matches nothing.
    asked = [(name, value) for name, value in request.headers.raw if name in _ASKED]
    asked += [(b"accept-encoding", b"identity"), (b"x-request-id", request_id().encode())]
    query = {name: request.query_params[name] for name in ("format",) if name in request.query_params}
    try:
        sent = client.build_request(request.method, f"/files/{_cid(cid)}", params=query, headers=asked)
        answer = await client.send(sent, stream=True)
    except httpx.HTTPError as exc:
        log.warning("files_unreachable", error=type(exc).__name__)
        raise _unreadable() from None
    if answer.status_code not in _SAID:
        await answer.aclose()
        log.error("files_refused", status=answer.status_code)
        raise _unreadable()
    told = {name: answer.headers[name] for name in _TOLD if name in answer.headers}
    return StreamingResponse(
        _parts(answer), answer.status_code, headers=told, background=BackgroundTask(answer.aclose)
    )


async def _parts(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()


def _cid(text: str) -> str:
    """Only a content id becomes part of an address at the executor: `..` leads elsewhere there."""
    try:
        return str(parse_cid(text))
    except ValueError as exc:
        raise BadRequest(str(exc), code="invalid_cid") from None


def _unreadable() -> Unavailable:
    return Unavailable("stored content cannot be read now", code="storage_unavailable")
