"""Calls to our neighbours: what came back, or whether the request may have been heard."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from shared.calls import Caller, NoAnswer
from tests.support.standin import DROPPED, Answer, StandIn


class Neighbour(StandIn):
    """Gives `next`, and keeps the bodies it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.next = Answer()
        self.heard: list[bytes] = []

    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        self.heard.append(body)
        return self.next


@pytest.fixture(scope="module")
def neighbour() -> Iterator[Neighbour]:
    running = Neighbour()
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def caller(neighbour: Neighbour) -> AsyncIterator[Caller]:
    neighbour.heard.clear()
    caller = Caller(neighbour.url, timeout_s=60, max_bytes=1000)
    yield caller
    await caller.close()


@pytest.fixture
async def hurried(neighbour: Neighbour) -> AsyncIterator[Caller]:
    """One who waits long enough to be heard, and no longer."""
    neighbour.heard.clear()
    caller = Caller(neighbour.url, timeout_s=1.5, max_bytes=1000)
    yield caller
    await caller.close()


async def test_any_status_is_an_answer_and_redirects_are_not_followed(
    caller: Caller, neighbour: Neighbour
) -> None:
    for status in (200, 302, 404, 503):
        neighbour.next = Answer.of({"status": status}, status, headers=(("Location", "/elsewhere"),))
        answer = await caller.post("/x", b"{}")
        assert (answer.status, json.loads(answer.body)) == (status, {"status": status})
    assert neighbour.heard == [b"{}"] * 4


@pytest.mark.parametrize(
    "answer",
    [DROPPED, Answer(delay_s=60), Answer(body=b"x" * 100, drip_s=1), Answer(body=b"x" * 1001)],
    ids=["dropped", "slow", "dripping", "large"],
)
async def test_what_may_have_been_heard_is_told_apart(
    hurried: Caller, neighbour: Neighbour, answer: Answer
) -> None:
    neighbour.next = answer
    with pytest.raises(NoAnswer) as caught:
        await hurried.post("/x", b"{}")
    assert caught.value.sent
    assert neighbour.heard == [b"{}"], "nothing is sent twice"


async def test_a_connection_that_is_dropped_when_used_again_is_not_tried_a_second_time(
    caller: Caller, neighbour: Neighbour
) -> None:
    neighbour.next = Answer()
    await caller.post("/x", b"1")
    neighbour.next = DROPPED
    with pytest.raises(NoAnswer) as caught:
        await caller.post("/x", b"2")
    assert caught.value.sent
    assert neighbour.heard == [b"1", b"2"]


async def test_what_was_never_sent_is_told_apart(caller: Caller, neighbour: Neighbour) -> None:
    with neighbour.down(), pytest.raises(NoAnswer) as caught:
        await caller.get("/x")
    assert not caught.value.sent


async def test_an_endless_body_without_a_length_is_cut_off() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    caller = Caller(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=10, max_bytes=100_000)
    with pytest.raises(NoAnswer, match="too large"):
        await caller.get("/x")
    await caller.close()
    server.close()
    await server.wait_closed()


async def test_a_per_call_time_limit_counts(hurried: Caller, neighbour: Neighbour) -> None:
    neighbour.next = Answer.of({}, delay_s=2)
    assert (await hurried.post("/x", b"{}", timeout_s=60)).status == 200


async def test_a_server_that_dies_while_a_body_is_sent_is_no_answer_and_cancels_nobody() -> None:
    """aiohttp then cancels whoever reads the body: that must not reach the caller as its own cancelling."""

    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"first")
        writer.transport.abort()

    async def content() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    server = await asyncio.start_server(dies, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    caller = Caller(f"http://127.0.0.1:{port}", timeout_s=5, max_bytes=100)
    async with server:
        with pytest.raises(NoAnswer):
            await caller.put_stream("/uploads", content(), headers={}, timeout_s=5)
        await caller.close()


async def test_what_a_body_fails_with_is_raised_as_it_is(caller: Caller) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"first"
        raise LookupError("cut off")

    with pytest.raises(LookupError, match="cut off"):
        await caller.put_stream("/uploads", content(), headers={}, timeout_s=5)
