"""The figures of an app, what they cost, and what happens to the others when one cannot be had."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from prometheus_client.metrics_core import Metric
from starlette.middleware import Middleware
from structlog.testing import capture_logs

from shared import metrics as module
from shared.http import new_app
from shared.metrics import Metrics, gauge, metrics_router
from shared.observed import REFUSED, Observed
from tests.shared.test_http import client, nothing


def make_app(metrics: Metrics, *tokens: str, loopback: bool = False) -> FastAPI:
    app = new_app(
        "test", "A service.", nothing, cors_origins=[], outer=[Middleware(Observed, metrics=metrics)]
    )

    @app.get("/things/{name}")
    async def thing(name: str) -> str:
        return name

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError

    @app.get("/broken")
    async def broken() -> StreamingResponse:
        async def parts() -> Any:
            yield b"x"
            raise RuntimeError

        return StreamingResponse(parts())

    @app.post("/read")
    async def read(request: Request) -> int:
        return len(await request.body())

    app.include_router(metrics_router(metrics, tokens, loopback=loopback))
    return app


def count(metrics: Metrics, **labels: str) -> float:
    value = metrics.registry.get_sample_value("http_requests_total", {"service": metrics.service, **labels})
    return value or 0


async def test_requests_are_counted_by_the_path_as_declared() -> None:
    metrics = Metrics("test")
    async with client(make_app(metrics)) as http:
        for name in ("a", "b", "c"):
            await http.get(f"/things/{name}")
        await http.get("/nowhere")
        await http.delete("/things/a")
        await http.request("BREW", "/things/a")
        assert (await http.get("/crash")).status_code == 500
    assert count(metrics, method="GET", route="/things/{name}", status="200") == 3
    assert count(metrics, method="GET", route="unmatched", status="404") == 1
    assert count(metrics, method="DELETE", route="/things/{name}", status="405") == 1
    assert count(metrics, method="other", route="/things/{name}", status="405") == 1
    assert count(metrics, method="GET", route="/crash", status="500") == 1


async def test_an_answer_that_breaks_off_is_counted_as_it_began_and_one_without_any_as_left() -> None:
    metrics = Metrics("test")
    app = make_app(metrics)
    async with client(app) as http:
        with pytest.raises(RuntimeError):
            await http.get("/broken")
    assert count(metrics, method="GET", route="/broken", status="200") == 1

    async def gone(scope: Any, receive: Any, send: Any) -> None:
        """A route whose client is not there any more."""

    scope = {"type": "http", "method": "GET", "path": "/x"}
    await Observed(gone, metrics)(scope, None, None)  # type: ignore[arg-type]
    assert count(metrics, method="GET", route="unmatched", status="499") == 1


Route = Callable[[Any, Any, Any], Awaitable[None]]


async def ended(route: Route, *heard: dict[str, Any]) -> tuple[Metrics, dict[str, Any]]:
    """The figures and the line of a WebSocket that `route` was given."""
    metrics, waiting = Metrics("test"), list(heard)

    async def receive() -> Any:
        return waiting.pop(0)

    async def send(_: Any) -> None:
        pass

    with capture_logs() as lines, suppress(RuntimeError):
        await Observed(route, metrics)({"type": "websocket", "path": "/ws"}, receive, send)
    (line,) = lines
    still_open = {"service": "test", "route": "unmatched"}
    assert not metrics.registry.get_sample_value("websockets_open", still_open)
    return metrics, line


def sockets(metrics: Metrics, outcome: str) -> float | None:
    labels = {"service": "test", "route": "unmatched", "outcome": outcome}
    return metrics.registry.get_sample_value("websockets_ended_total", labels)


async def test_a_websocket_that_its_client_leaves_is_closed_and_what_it_was_sent_is_measured() -> None:
    async def telling(_: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "é"})
        await send({"type": "websocket.send", "bytes": b"abc", "text": None})
        await receive()
        await send({"type": "websocket.close", "code": 1001})  # nobody is there to read it

    metrics, line = await ended(telling, {"type": "websocket.disconnect", "code": 1005})
    assert sockets(metrics, "closed") == 1
    assert (line["outcome"], line["code"], line["size_bytes"]) == ("closed", 1005, 5)


async def test_a_websocket_that_is_sent_away_is_counted_by_the_reason_and_one_that_fails_as_failed() -> None:
    async def refusing(scope: Any, _: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        scope[REFUSED] = "unauthorized"
        await send({"type": "websocket.close", "code": 1008, "reason": "a token, perhaps"})

    async def failing(_: Any, __: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        raise RuntimeError

    async def turning_away(_: Any, __: Any, send: Any) -> None:
        await send({"type": "websocket.close", "code": 1008})

    for route, outcome, code in (
        (refusing, "unauthorized", 1008),
        (failing, "failed", 1006),
        (turning_away, "rejected", 1008),
    ):
        metrics, line = await ended(route)
        assert sockets(metrics, outcome) == 1
        assert (line["outcome"], line["code"]) == (outcome, code)
        assert "perhaps" not in str(line)


async def test_two_apps_in_one_process_count_for_themselves() -> None:
    one, other = Metrics("one"), Metrics("other")
    async with client(make_app(one)) as http:
        await http.get("/things/a")
    make_app(other)
    assert b'service="one"' in await one.text()
    assert b"http_requests_total{" not in await other.text()


async def test_a_figure_that_cannot_be_had_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    metrics = Metrics("test")

    async def broken() -> list[Metric]:
        raise OSError

    async def stuck() -> list[Metric]:
        await asyncio.sleep(60)
        return []

    async def fine() -> list[Metric]:
        return [gauge("fine", "Is told.", (), [((), 7)])]

    for look in (broken, stuck, fine):
        metrics.look_up(look)
    began_s = time.monotonic()
    text = await metrics.text()
    assert time.monotonic() - began_s < 20
    assert b"\nfine 7.0\n" in text
    assert b"python_info" in text


async def test_what_takes_a_while_is_looked_up_once_for_many_scrapes() -> None:
    metrics, asked = Metrics("test"), 0

    async def look() -> list[Metric]:
        nonlocal asked
        asked += 1
        return []

    metrics.look_up(look)
    await asyncio.gather(*(metrics.text() for _ in range(20)))
    assert asked == 1


@pytest.mark.parametrize(
    ("tokens", "loopback", "peer", "given", "status"),
    [
        (("abc", "def"), False, "127.0.0.1", "Bearer def", 200),
        (("abc", "def"), True, "127.0.0.1", "", 401),
        (("abc",), False, "127.0.0.1", "Bearer abcd", 401),
        ((), True, "127.0.0.1", "", 200),
        ((), True, "10.0.0.7", "", 403),
        ((), False, "127.0.0.1", "", 403),
        (("",), False, "127.0.0.1", "Bearer ", 403),
    ],
)
async def test_who_may_read_them(
    tokens: tuple[str, ...], loopback: bool, peer: str, given: str, status: int
) -> None:
    app = make_app(Metrics("test"), *tokens, loopback=loopback)
    async with client(app, peer) as http:
        answer = await http.get("/metrics", headers={"Authorization": given})
    assert answer.status_code == status
    assert ("python_info" in answer.text) is (status == 200)
    assert answer.headers["content-type"].startswith(
        "text/plain; version=" if status == 200 else "application/json"
    )


async def test_counting_a_request_costs_microseconds() -> None:
    """A bound that only a real mistake misses: on an idle machine it is about 5 µs."""
    metrics = Metrics("test")
    for _ in range(2000):
        metrics.count_request("GET", "/x", 200, 0.003)
    began_s = time.thread_time()
    for _ in range(2000):
        metrics.count_request("GET", "/x", 200, 0.003)
    assert (time.thread_time() - began_s) / 2000 < 100e-6
