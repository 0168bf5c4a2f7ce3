"""HTTP of stored content: uploads in, files out. Internal, as all of the executor: the broker is the door."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import Field
from starlette.requests import ClientDisconnect

from executor.storage.errors import UploadIncomplete
from executor.storage.ranges import Unsatisfiable, is_known, range_holds, range_of
from executor.storage.rows import Found
from executor.storage.serving import MEDIA_TYPES, Format, Served, headers_of, served
from executor.storage.storage import Storage
from shared.clock import iso
from shared.errors import BadRequest, GalaksioError
from shared.ipfs import car_parts, parse_cid, root_block
from shared.jobs import Wire
from shared.openapi import refusals
from shared.served_content import ANSWERS, PARAMETERS
from shared.store import UploadInfo, UrlInfo

UPLOADS_PATH = "/uploads"
IDLE_S = 30.0
"""How long an upload may stand still."""


class UrlAsk(Wire):
    url: str = Field(min_length=1, max_length=4096, examples=["https://example.com/data.csv"])


def files_path(cid: str) -> str:
    return f"/files/{cid}"


def files_router(storage: Storage) -> APIRouter:
    """Routes over `storage`."""
    router = APIRouter(tags=["storage"])

    @router.put(
        UPLOADS_PATH,
        status_code=201,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
        responses=refusals(
            {
                400: "The body broke off, or stood still",
                413: "More than MAX_UPLOAD_MB",
                503: "The place of the content does not answer",
                507: "There is no room for it",
            }
        ),
    )
    async def upload(request: Request) -> UploadInfo:
        """Receive a raw body. It waits to be stored by a task `{taskType: "store", upload: uploadId}`."""
        declared = request.headers.get("content-length", "")
        hold = await storage.upload(_body(request), int(declared) if declared.isdigit() else 0)
        return UploadInfo(
            upload_id=hold.id,
            cid=hold.cid,
            size_bytes=hold.size_bytes,
            sha256=hold.sha256,
            expires_at=iso(hold.expires_at or 0),
        )

    @router.delete(
        UPLOADS_PATH + "/{upload_id}",
        status_code=204,
        responses=refusals({503: "The place of the content does not answer"}),
    )
    async def drop_upload(upload_id: str) -> None:
        """Forget an upload that is not going to be stored. Idempotent."""
        await storage.drop_upload(upload_id)

    @router.head("/files/{cid}", include_in_schema=False)
    @router.get(
        "/files/{cid}",
        response_class=Response,
        responses=ANSWERS,
        openapi_extra={"parameters": PARAMETERS},
    )
    async def file(request: Request, cid: str) -> Response:
        """Stored content, with `Range`; `?format=raw|car` for whoever wants to check it against its CID."""
        found = await storage.find(_cid(cid))
        return await _answer(request, storage, found, _format(request))

    @router.post(
        "/measure",
        responses=refusals(
            {
                400: "An address that will not do",
                413: "There is more than is taken here",
                422: "A field that is missing or wrong, or nothing there that can be had",
                502: "Its server does not answer",
                503: "The place of the content does not answer",
            }
        ),
    )
    async def measure(ask: UrlAsk) -> UrlInfo:
        """How large the file at a customer's URL is, as its server says."""
        return await storage.measure(ask.url)

    return router


async def _body(request: Request) -> AsyncIterator[bytes]:
    """The request's body. Raises `UploadIncomplete` when it is cut off or stands still."""
    stream = request.stream()
    try:
        while True:
            async with asyncio.timeout(IDLE_S):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            yield chunk
    except ClientDisconnect:
        raise UploadIncomplete("the upload was cut off; nothing of it was kept") from None
    except TimeoutError:
        raise UploadIncomplete(f"nothing came for {IDLE_S:.0f} seconds; nothing was kept") from None


def _cid(text: str) -> str:
    try:
        return str(parse_cid(text))
    except ValueError as exc:
        raise BadRequest(str(exc), code="invalid_cid") from None


def _format(request: Request) -> Format:
    """As the trustless gateway has it: `?format` goes before `Accept`."""
    asked, accept = request.query_params.get("format"), request.headers.get("accept", "")
    if asked is None:
        given = (part.partition(";")[0].strip().lower() for part in accept.split(","))
        return next((MEDIA_TYPES[name] for name in given if name in MEDIA_TYPES), "file")
    if asked not in MEDIA_TYPES.values():
        raise BadRequest("format must be raw or car", code="unknown_format")
    return "raw" if asked == "raw" else "car"


async def _answer(request: Request, storage: Storage, found: Found, format: Format) -> Response:
    way = served(found, format)
    headers = headers_of(found, way, storage.clock)
    if is_known(request.headers.get("if-none-match"), way.etag):
        return Response(status_code=304, headers=headers)
    if format == "file":
        return await _file(request, storage, found, way, headers)
    inner, root = await storage.nodes(found), parse_cid(found.cid)
    content = storage.read(found, 0, found.size_bytes)
    if format == "raw":
        return Response(await root_block(inner, root, content), headers=headers)
    if request.method == "HEAD":
        return StreamingResponse(_nothing(), headers=headers)  # its length is not known ahead
    return StreamingResponse(await _begun(car_parts(inner, root, content)), headers=headers)


async def _file(
    request: Request, storage: Storage, found: Found, way: Served, headers: dict[str, str]
) -> Response:
    size_bytes = found.size_bytes
    asked = request.headers.get("range") if range_holds(request.headers.get("if-range"), way.etag) else None
    try:
        part = range_of(asked, size_bytes)
    except Unsatisfiable:
        raise GalaksioError(
            f"the content has {size_bytes} bytes; the range begins behind them",
            status=416,
            code="range_not_satisfiable",
            headers={"Content-Range": f"bytes */{size_bytes}", "Accept-Ranges": "bytes"},
        ) from None
    start, end = part or (0, size_bytes)
    headers["Content-Length"] = str(end - start)
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size_bytes}"
    status = 206 if part else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return StreamingResponse(await _begun(storage.read(found, start, end)), status, headers=headers)


async def _begun(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """`content`, read as far as its first piece: what fails there can still be answered as an error."""
    first = await anext(content, b"")

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for piece in content:
            yield piece

    return whole()


async def _nothing() -> AsyncIterator[bytes]:
    yield b""
