"""The parts every service shares: error bodies, request ids, body cap, who may come in."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from shared.errors import BadRequest, Unavailable
from shared.health import Check, health_router
from shared.http import MAX_BODY_BYTES, new_app

ERROR_KEYS = {"error", "success", "message", "detail", "code", "requestId"}


@asynccontextmanager
async def nothing(_: FastAPI) -> AsyncIterator[None]:
    yield


def make_app(**options: Any) -> FastAPI:
    app = new_app("test", "A service.", nothing, cors_origins=options.pop("cors_origins", []), **options)

    @app.get("/bad")
    async def bad() -> None:
        raise BadRequest("no", code="nope", extra={"more": 1})

    @app.get("/busy")
    async def busy() -> None:
        raise Unavailable("later", retry_after_s=7)

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError("secret text")

    @app.put("/echo")
    @app.post("/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())

    async def healthy() -> Check:
        return Check("healthy")

    async def broken() -> Check:
        raise OSError

    app.include_router(health_router("test", {"part": "here"}, {"good": healthy, "bad": broken}))
    return app


def client(app: FastAPI, peer: str = "127.0.0.1") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=(peer, 1234))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/bad", 400, "nope"),
        ("GET", "/busy", 503, "unavailable"),
        ("GET", "/crash", 500, "internal_error"),
        ("GET", "/none", 404, "not_found"),
        ("PUT", "/bad", 405, "method_not_allowed"),
    ],
)
async def test_every_error_has_the_same_body_and_a_request_id(
    method: str, path: str, status: int, code: str
) -> None:
    async with client(make_app()) as http:
        response = await http.request(method, path)
    assert response.status_code == status
    body = response.json()
    assert body.keys() >= ERROR_KEYS
    assert (body["success"], body["code"]) == (False, code)
    assert body["requestId"] == response.headers["X-Request-ID"]
    assert "secret text" not in response.text


async def test_extra_fields_and_retry_after_are_given() -> None:
    async with client(make_app()) as http:
        assert (await http.get("/bad")).json()["more"] == 1
        assert (await http.get("/busy")).headers["Retry-After"] == "7"


async def test_a_well_formed_request_id_is_kept_and_another_replaced() -> None:
    async with client(make_app()) as http:
        kept = await http.get("/health", headers={"X-Request-ID": "abc-1"})
        replaced = await http.get("/health", headers={"X-Request-ID": "a b\tc" + "x" * 80})
    assert kept.headers["X-Request-ID"] == "abc-1"
    assert len(replaced.headers["X-Request-ID"]) == 32


async def test_the_body_cap_counts_what_is_read_when_no_length_is_declared() -> None:
    async def stream(size: int) -> AsyncIterator[bytes]:
        for _ in range(0, size, 65536):
            yield b"x" * 65536

    async with client(make_app()) as http:
        assert (await http.post("/echo", content=stream(MAX_BODY_BYTES))).json() == MAX_BODY_BYTES
        assert (await http.post("/echo", content=stream(MAX_BODY_BYTES + 1))).status_code == 413
        declared = await http.post("/echo", content=b"", headers={"Content-Length": str(MAX_BODY_BYTES + 1)})
        assert (declared.status_code, declared.json()["code"]) == (413, "body_too_large")


async def test_without_a_token_only_loopback_peers_are_answered() -> None:
    app = make_app(internal=True)
    async with client(app) as near, client(app, "10.0.0.7") as far, client(app, "::1") as six:
        assert (await near.post("/echo")).status_code == 200
        assert (await six.post("/echo")).status_code == 200
        assert (await far.post("/echo")).status_code == 403
        assert (await far.get("/health")).status_code == 200


async def test_with_a_token_everybody_needs_it_but_for_health() -> None:
    app = make_app(internal=True, token="s3cret")
    async with client(app) as http:
        assert (await http.post("/echo")).status_code == 401
        assert (await http.post("/echo", headers={"Authorization": "Bearer wrong"})).status_code == 401
        assert (await http.post("/echo", headers={"Authorization": "Bearer s3cret"})).status_code == 200
        assert (await http.get("/health")).status_code == 200


async def test_health_is_cheap_and_readiness_really_asks() -> None:
    async with client(make_app()) as http:
        health, ready = await http.get("/health"), await http.get("/health/ready")
    body = health.json()
    assert (body["status"], body["ok"], body["service"]) == ("ok", True, "test")
    assert body.keys() >= {"version", "timestamp", "dependencies"}
    assert ready.status_code == 503
    assert ready.json()["status"] == "unhealthy"
    assert ready.json()["dependencies"]["good"] == {"status": "healthy"}
    assert "OSError" in ready.json()["dependencies"]["bad"]["reason"]


async def test_browsers_of_a_configured_origin_can_pay() -> None:
    async with client(make_app(cors_origins=["https://shop.test"])) as http:
        preflight = await http.options(
            "/echo",
            headers={
                "Origin": "https://shop.test",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "payment-signature,x-payment,content-type",
            },
        )
        assert preflight.status_code == 200
        answer = await http.get("/bad", headers={"Origin": "https://shop.test"})
        other = await http.get("/bad", headers={"Origin": "https://evil.test"})
    assert "PAYMENT-REQUIRED" in answer.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Origin" not in other.headers


def test_the_openapi_document_can_be_built() -> None:
    assert json.dumps(make_app().openapi())


async def test_a_deeply_nested_body_is_refused_and_does_not_end_the_process() -> None:
    raised = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)  # as py_ecc does
    try:
        app = make_app()

        @app.post("/read")
        async def read(request: Request) -> int:
            try:
                return len(await request.json())
            except RecursionError:
                raise BadRequest("too deep") from None

        async with client(app) as http:
            answer = await http.post("/read", content=b"[" * 100_000)
        assert answer.status_code == 400
    finally:
        sys.setrecursionlimit(min(raised, 1000))


async def test_a_route_that_reads_a_stream_may_have_a_larger_body_and_no_other() -> None:
    async def stream(size_bytes: int) -> AsyncIterator[bytes]:
        yield b"x" * size_bytes

    large = MAX_BODY_BYTES + 1
    async with client(make_app(larger_bodies={("PUT", "/echo"): large})) as http:
        assert (await http.put("/echo", content=stream(large))).json() == large
        assert (await http.put("/echo", content=b"x" * large)).json() == large
        assert (await http.put("/echo", content=stream(large + 1))).status_code == 413
        for answer in (
            await http.put("/echo", content=b"x" * (large + 1)),
            await http.post("/echo", content=b"x" * large),
        ):
            assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
