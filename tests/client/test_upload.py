"""Uploads to servers that answer early, late, or in the middle: what is sent, and how often."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from eth_account import Account
from starlette.types import Message

from broker.uploads import Upload
from galaksio import (
    AsyncClient,
    OutcomeUnknown,
    Price,
    PriceTooHigh,
    RequestRefused,
    Stored,
    Unreachable,
    Unreadable,
    paying,
    uploads,
)
from shared.networks import network_named
from tests.support.ports import free_port

WALLET = Account.create()
NETWORK = network_named("base-sepolia")
BIG = bytes(range(256)) * 16 * 1024
"""4 MB, so more than what the system takes from us before anybody reads it."""
STORED = {
    "cid": "bafy",
    "url": "http://broker.test/files/bafy",
    "provider": "local",
    "size": len(BIG),
    "permanent": False,
    "expires_at": None,
    "sha256": "00",
    "content_type": "image/png",
    "filename": "big.bin",
}
DONE = json.dumps(
    {"jobId": "job", "status": "completed", "provider": "local", "price_usd": "0.01", "result": STORED}
).encode()


@dataclass
class Request:
    """A request as far as it was read."""

    line: str
    headers: dict[str, str]
    reader: asyncio.StreamReader
    body: bytes = b""

    async def read(self, size_bytes: int) -> None:
        self.body += await self.reader.readexactly(size_bytes)

    async def read_all(self) -> None:
        await self.read(int(self.headers["content-length"]) - len(self.body))

    async def read_until_closed(self) -> None:
        while more := await self.reader.read(65536):
            self.body += more


@dataclass
class StandIn:
    """A server that answers as `answer` says, and keeps what it read."""

    answer: Callable[[Request], Awaitable[tuple[int, bytes]]]
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.append(asyncio.create_task(self._serve(reader, writer)))

    async def closed(self) -> None:
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        request = Request(first, headers, reader)
        self.requests.append(request)
        with suppress(ConnectionError, asyncio.IncompleteReadError):  # the client hung up
            status, body = await self.answer(request)
            head = f"HTTP/1.1 {status} Any\r\nContent-Type: application/json\r\nConnection: close\r\n"
            if status == 402:
                head += f"PAYMENT-REQUIRED: {base64.b64encode(body).decode()}\r\n"
            if status == 202:
                head += "Location: /status/job\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await request.read_until_closed()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def running(answer: Callable[[Request], Awaitable[tuple[int, bytes]]]) -> AsyncIterator[StandIn]:
    port = free_port()
    stand_in = StandIn(answer, url=f"http://127.0.0.1:{port}")
    async with await asyncio.start_server(stand_in.accept, "127.0.0.1", port):
        try:
            yield stand_in
        finally:
            await stand_in.closed()


def challenge(price_atomic: int = 10_000) -> bytes:
    accepts = {
        "scheme": "exact",
        "network": NETWORK.caip2,
        "amount": str(price_atomic),
        "payTo": "0x" + "bb" * 20,
        "maxTimeoutSeconds": 60,
        "asset": NETWORK.asset,
        "extra": {"name": "USDC", "version": "2"},
    }
    resource = {"url": "http://broker.test/store"}
    return json.dumps({"x402Version": 2, "resource": resource, "accepts": [accepts]}).encode()


async def send(
    url: str, data: bytes = BIG, source: Any = None, name: str = "big.bin", **more: Any
) -> tuple[Stored, list[str]]:
    said: list[str] = []
    key = "0x" + bytes(WALLET.key).hex()

    def say(price: Price) -> None:
        said.append(f"${price.usd} to {price.pay_to}")

    async with AsyncClient(key, url, on_price=say) as client:
        stored = await client.store(
            source or io.BytesIO(data), filename=name or None, content_type="image/png", **more
        )
    return stored, said


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The price comes before the file, however busy the machine is."""
    monkeypatch.setattr(uploads, "PRICE_WAIT_S", 60.0)


class Shrinking(io.BytesIO):
    """A file that is a byte shorter when it is read than when it was measured."""

    def read(self, size: int | None = -1) -> bytes:
        self.truncate(len(BIG) - 1)
        return super().read(size)


class Growing(io.BytesIO):
    """A file that is longer when it is read than when it was measured."""

    def read(self, size: int | None = -1) -> bytes:
        at = self.tell()
        self.seek(0, io.SEEK_END)
        self.write(b"more")
        self.seek(at)
        return super().read(size)


async def sold(request: Request) -> tuple[int, bytes]:
    """As our broker: the price as soon as the file begins, the work once it has it all."""
    if "payment-signature" in request.headers:
        await request.read_all()
        return 200, DONE
    await request.read(200)
    return 402, challenge()


async def parsed(request: Request) -> tuple[Upload, bytes]:
    """The body as the broker reads it."""

    async def receive() -> Message:
        return {"type": "http.request", "body": request.body, "more_body": False}

    read = Upload(receive, request.headers["content-type"], None)
    await read.open()
    return read, b"".join([part async for part in read.chunks()])


async def test_a_large_file_is_sent_once_and_its_options_and_length_twice() -> None:
    async with running(sold) as server:
        paid, said = await send(server.url, max_cost_usd="0.01")
    asked, bought = server.requests
    assert paid.job_id == "job"
    assert said == ["$0.01 to 0x" + "bb" * 20]
    assert len(asked.body) < 1000
    assert asked.headers["content-length"] == bought.headers["content-length"] == str(len(bought.body))
    authorization = json.loads(base64.b64decode(bought.headers["payment-signature"]))["payload"][
        "authorization"
    ]
    assert authorization["value"] == "10000"
    for request in server.requests:
        assert request.body.index(b'name="permanent"') < request.body.index(b'name="file"')


@pytest.mark.parametrize("name", ["big.bin", "", 'a "quote"\r\nX: y.bin', "grüße.txt"])
async def test_the_broker_reads_what_was_meant(name: str) -> None:
    async with running(sold) as server:
        await send(server.url, name=name)
    read, content = await parsed(server.requests[1])
    assert content == BIG
    assert read.fields == {"permanent": "false"}
    assert read.file_type == "image/png"
    assert "\r" not in (read.file_name or "")
    assert name != "grüße.txt" or read.file_name == name


async def test_a_small_file_goes_along_with_the_question() -> None:
    async def whole(request: Request) -> tuple[int, bytes]:
        await request.read_all()
        return (200, DONE) if "payment-signature" in request.headers else (402, challenge())

    async with running(whole) as server:
        await send(server.url, b"small")
    assert [b"\r\n\r\nsmall\r\n--" in request.body for request in server.requests] == [True, True]


async def test_a_server_that_wants_the_whole_request_first_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PRICE_WAIT_S", 0.05)

    async def buffering(request: Request) -> tuple[int, bytes]:
        await request.read_all()
        return (200, DONE) if "payment-signature" in request.headers else (402, challenge())

    async with running(buffering) as server:
        await send(server.url)
    assert [(await parsed(request))[1] == BIG for request in server.requests] == [True, True]


async def test_nothing_more_is_sent_once_the_price_is_over_the_cap() -> None:
    async def dear(request: Request) -> tuple[int, bytes]:
        await request.read(200)
        return 402, challenge(10_001)

    async with running(dear) as server:
        with pytest.raises(PriceTooHigh, match=r"over your cap of \$0\.01 "):
            await send(server.url, max_cost_usd="0.01")
    assert [len(request.body) < 1000 for request in server.requests] == [True]


async def test_a_refusal_in_the_middle_of_the_file_ends_it_and_is_told() -> None:
    async def strict(request: Request) -> tuple[int, bytes]:
        if "payment-signature" not in request.headers:
            return await sold(request)
        await request.read(300_000)
        return 413, b'{"error": "the content is over 300000 bytes"}'

    async with running(strict) as server:
        with pytest.raises(RequestRefused, match="413: the content is over 300000 bytes"):
            await send(server.url, BIG * 8)
    assert len(server.requests[1].body) < len(BIG * 8)


async def test_a_file_that_shrinks_while_it_is_sent_is_one_sentence() -> None:
    async with running(sold) as server:
        with pytest.raises(Unreadable, match=r"big\.bin cannot be read: it became shorter"):
            await send(server.url, BIG, source=Shrinking(BIG))


async def test_a_file_that_grows_is_sent_as_it_was_measured() -> None:
    async with running(sold) as server:
        await send(server.url, source=Growing(BIG))
    assert (await parsed(server.requests[1]))[1] == BIG


async def test_a_host_that_charges_nothing_is_paid_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PRICE_WAIT_S", 0.05)

    async def free(request: Request) -> tuple[int, bytes]:
        await request.read_all()
        return 200, DONE

    async with running(free) as server:
        paid, said = await send(server.url)
    assert (paid.receipt, said, len(server.requests)) == (None, [], 1)


async def test_a_connection_that_breaks_off_once_it_was_paid_is_not_paid_again_blindly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paying, "PAUSES_S", (0.01, 0.01))

    async def failing(request: Request) -> tuple[int, bytes]:
        if "payment-signature" not in request.headers:
            return await sold(request)
        await request.read(1000)
        raise ConnectionResetError

    async with running(failing) as server:
        with pytest.raises(OutcomeUnknown, match="broke off while it was paid"):
            await send(server.url)
    sent = [request.headers.get("payment-signature") for request in server.requests]
    assert (sent[0], len(sent), len(set(sent[1:]))) == (None, 4, 1)


async def test_an_outcome_that_is_not_known_yet_is_waited_for_and_then_asked_for_with_the_same_payment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paying, "PENDING_PAUSE_S", 0.01)
    monkeypatch.setattr(paying, "PAUSES_S", (0.01, 0.01))
    asked: list[str] = []

    async def slow(request: Request) -> tuple[int, bytes]:
        if request.line.startswith("GET /status/job "):
            asked.append(request.line)
            return 200, b'{"status": "%s"}' % (b"completed" if len(asked) == 2 else b"running")
        status, body = await sold(request)
        return (202, b"{}") if status == 200 and not asked else (status, body)

    async with running(slow) as server:
        paid, said = await send(server.url)
    assert (paid.job_id, len(asked), len(said)) == ("job", 2, 1)
    first, second = [
        request.headers["payment-signature"]
        for request in server.requests
        if "payment-signature" in request.headers
    ]
    assert first == second


async def test_progress_ends_at_the_size_of_the_file() -> None:
    told: list[tuple[int, int]] = []
    async with running(sold) as server:
        await send(server.url, progress=lambda *so_far: told.append(so_far))
    assert told == sorted(set(told))
    assert told[-1] == (len(BIG), len(BIG))


async def test_no_server_is_one_sentence() -> None:
    with pytest.raises(Unreachable, match="is the broker running"):
        await send(f"http://127.0.0.1:{free_port()}")
