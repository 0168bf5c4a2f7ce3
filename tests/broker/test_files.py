"""`GET /files/{cid}` at the public door: what a client says of the content it knows reaches the executor."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from broker.routes.files import router
from shared.errors import install_error_handlers

CID = "bafkreiayl6g3gitr7ys7kyng7sjywlrgimdoymco3jiyab6rozecmoazne"
HERE = "https://broker.example"


def executor() -> FastAPI:
    """Says in its ETag what it was asked."""
    app = FastAPI()

    @app.get("/files/{cid}")
    def content(request: Request) -> Response:
        told = [request.headers.get(name, "-") for name in ("if-none-match", "if-range", "range")]
        return Response(b"Hello", headers={"ETag": "|".join(told)})

    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(router)
    inside = httpx.ASGITransport(app=executor())
    outside = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        httpx.AsyncClient(transport=inside, base_url="http://executor") as files,
        httpx.AsyncClient(transport=outside, base_url=HERE) as client,
    ):
        app.state.files = files
        yield client


@pytest.mark.parametrize("said", [b'"known"', b"\xd1\xc2\x9e", b"\xff"])
async def test_what_is_asked_of_content_is_passed_on_byte_for_byte(
    client: httpx.AsyncClient, said: bytes
) -> None:
    headers = [
        (b"If-None-Match", said),
        (b"If-Range", said),
        (b"Range", b"bytes=0-1"),
        (b"Cookie", b"secret"),
    ]
    answer = await client.get(f"/files/{CID}", headers=headers)
    assert (answer.status_code, answer.content) == (200, b"Hello")
    (etag,) = [value for name, value in answer.headers.raw if name.lower() == b"etag"]
    assert etag == b"|".join([said, said, b"bytes=0-1"])
