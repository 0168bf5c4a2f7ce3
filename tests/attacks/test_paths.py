"""Every other way to spell the door: none runs paid work for free."""

import base64
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from broker.routes import compute
from tests.attacks.world import (
    World,
    challenge_of,
    http_request,
    new_body,
    read_answer,
)
from tests.support.wallets import Wallet

TARGETS = [
    "/RUN",
    "/Run",
    "/run/",
    "//run",
    "///run",
    "/./run",
    "/run/.",
    "/x/../run",
    "/health/../run",
    "/docs/..%2frun",
    "/%72un",
    "/%72%75%6e",
    "/%2572un",
    "/run%2f",
    "/%2frun",
    "/run%00",
    "/run%20",
    "/run;v=1",
    "/run;/health",
    "/run?path=/health",
    "/run#/health",
    "/r%75n?x402=off",
    "/EXECUTE",
    "/%65xecute",
    "/execute/",
    "/\xb2un",
    "/%c0%afrun",
    "/run%0d%0aX-PAYMENT:x",
    "\\run",
    "run",
    "*",
    "",
]
SAFE_ANSWERS = {0, 400, 402, 404, 405, 422}


@pytest.mark.parametrize("target", TARGETS, ids=ascii)
def test_no_spelling_of_the_path_runs_unpaid_work(world: World, target: str) -> None:
    body = new_body()
    status, _, _ = world.raw(http_request(body, target=target))
    assert status in SAFE_ANSWERS
    assert world.runs(body) == 0


@pytest.mark.parametrize("target", TARGETS[:-3], ids=ascii)
def test_a_payment_through_any_spelling_is_a_whole_sale_or_none(
    world: World, broker: httpx.Client, wallet: Wallet, target: str
) -> None:
    body = new_body()
    (header,) = wallet.pay_v1(challenge_of(broker, body)).items()
    status, _, text = world.raw(http_request(body, header, target=target))
    assert status in SAFE_ANSWERS | {200}
    if status == 200:
        assert "secret" in text
        world.assert_sold_once(wallet, body)
    else:
        world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize(
    "target",
    [
        "http://galaksio.example/run",
        "HTTP://galaksio.example/run",
        "http://evil.example/run",
        "http://galaksio.example//run",
        "http://galaksio.example/health/../run",
        "https://user:pass@galaksio.example/run",
        "ws://galaksio.example/run",
        "file:///run",
    ],
)
def test_the_absolute_form_runs_no_unpaid_work(world: World, target: str) -> None:
    body = new_body()
    status, _, text = world.raw(http_request(body, target=target))
    assert status in SAFE_ANSWERS
    assert "evil.example" not in text
    assert world.runs(body) == 0


@pytest.mark.parametrize(
    "method",
    [
        "GET",
        "HEAD",
        "PUT",
        "PATCH",
        "DELETE",
        "TRACE",
        "PROPFIND",
        "post",
        "Post",
        "CONNECT",
        "PURGE",
        "QUERY",
    ],
)
def test_no_other_method_runs_unpaid_work(world: World, method: str) -> None:
    body = new_body()
    status, _, _ = world.raw(http_request(body, method=method))
    assert status in SAFE_ANSWERS
    assert world.runs(body) == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "post"])
def test_no_other_method_spends_a_payment(
    world: World, broker: httpx.Client, wallet: Wallet, method: str
) -> None:
    body = new_body()
    (header,) = wallet.pay_v2(challenge_of(broker, body)).items()
    status, _, _ = world.raw(http_request(body, header, method=method))
    assert status != 200 or method == "OPTIONS"
    world.assert_nothing_sold(wallet, body)


def test_options_is_free_and_runs_nothing(world: World) -> None:
    body = new_body()
    preflight = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST")]
    for headers in ([], preflight):
        status, head, _ = world.raw(http_request(body, *headers, method="OPTIONS"))
        assert status in {200, 204, 400, 405}
        assert "payment-required" not in head.lower()
    assert world.runs(body) == 0


@pytest.mark.parametrize(
    "header",
    [
        ("X-HTTP-Method-Override", "GET"),
        ("X-Original-URL", "/health"),
        ("X-Rewrite-URL", "/health"),
        ("X-Forwarded-Prefix", "/health"),
        ("X-Middleware-Subrequest", "middleware"),
        ("Authorization", "Bearer test-token"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("galaksio.grant", "1"),
        ("Galaksio-Grant", '{"job_id": "1"}'),
    ],
    ids=lambda header: header[0],
)
def test_no_header_opens_the_gate(world: World, broker: httpx.Client, header: tuple[str, str]) -> None:
    body = new_body()
    assert broker.post("/run", json=body, headers=dict([header])).status_code == 402
    assert world.runs(body) == 0


def test_a_websocket_on_the_paid_route_runs_nothing(world: World) -> None:
    key = base64.b64encode(b"0123456789abcdef").decode()
    upgrade = (
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
    )
    body = new_body()
    for method, content in (("GET", b""), ("POST", http_request(body).split(b"\r\n\r\n", 1)[1])):
        status, _, _ = world.raw(http_request(content, *upgrade, method=method), patience_s=1)
        assert status in {0, 400, 402, 403, 404, 405, 426}
    assert world.runs(body) == 0


def test_an_upgrade_to_http_2_runs_nothing(world: World) -> None:
    body = new_body()
    upgrade = (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk"))
    status, _, _ = world.raw(http_request(body, *upgrade))
    assert status in SAFE_ANSWERS
    assert world.runs(body) == 0


def test_a_request_smuggled_behind_another_is_not_served_unpaid(world: World) -> None:
    """Two lengths that disagree, and a whole request in what one of them calls the body."""
    body = new_body()
    inner = http_request(body)
    outer = [
        f"POST /run HTTP/1.1\r\nA: a\r\nContent-Length: 4\r\nContent-Length: {len(inner)}\r\n\r\n".encode(),
        b"POST /run HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /run HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\n{}\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    for head in outer:
        with world.connection() as connection:
            connection.sendall(head + inner)
            connection.settimeout(5)
            while True:
                try:
                    status, head_text, _ = read_answer(connection)
                except (ConnectionError, TimeoutError):
                    break
                assert status in SAFE_ANSWERS or "/health" in head.decode()
                if status in {0, 400, 402} or "connection: close" in head_text.lower():
                    break
    assert world.runs(body) == 0


async def test_a_paid_endpoint_mounted_or_copied_without_its_gate_does_nothing(world: World) -> None:
    """The default is no: in an app without a gate, under a prefix, as a plain route, or called directly."""
    body: dict[str, Any] = new_body()

    class Untouchable:
        async def execute(self, *_: Any) -> Any:
            raise AssertionError("the executor was asked")

    bare, plain, parent = FastAPI(), FastAPI(), FastAPI()
    bare.include_router(compute.router)
    plain.add_api_route("/run", compute.run, methods=["POST", "GET"])
    plain.websocket("/ws")(compute.run)
    parent.mount("/sub", bare)
    parent.mount("/plain", plain)
    parent.include_router(compute.router, prefix="/v9")
    for app in (bare, plain, parent):
        app.state.executor = Untouchable()
    transport = httpx.ASGITransport(parent, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://inside") as client:
        for path in ("/sub/run", "/sub/execute", "/plain/run", "/v9/run", "/v9/execute"):
            answer = await client.post(path, json=body)
            assert answer.status_code in {403, 404, 500, 503}, path
            assert "completed" not in answer.text
    assert world.runs(body) == 0
