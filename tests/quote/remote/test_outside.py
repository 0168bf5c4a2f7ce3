"""HTTP to other people's servers, over real sockets: bounded, and nothing of ours goes along."""

import asyncio
import gzip
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from quote.outside import MAX_BODY_BYTES, Outside
from quote.providers.base import Failed
from shared import __version__
from tests.quote.remote.sellers import declined, sellers
from tests.support.challenges import v1_body, v1_entry
from tests.support.ports import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class Server:
    """Answers every request on a port of its own with `answer` byte for byte; `heads` is what was asked.

    After that it closes, unless it `drips`: a byte of the answer each 50 ms; or it `resets` the connection.
    """

    def __init__(self, answer: bytes, *, drips: bool = False, resets: bool = False) -> None:
        self.answer = answer
        self.drips = drips
        self.resets = resets
        self.heads: list[str] = []
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/price"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
            step = 1 if self.drips else max(len(self.answer), 1)
            for start in range(0, len(self.answer), step):
                writer.write(self.answer[start : start + step])
                await writer.drain()
                await asyncio.sleep(0.05 if self.drips else 0)
            if self.resets:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", server.port)
    async with listening:
        yield server


def whole(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    async with Outside(20.0) as client:
        yield client


@pytest.fixture
async def hurried() -> AsyncIterator[Outside]:
    async with Outside(0.6) as client:
        yield client


PRICE = whole(v1_body(v1_entry("1")), status="402 Payment Required")
URL_OF = {
    "xcache": "XCACHE_URL",
    "openx402": "OPENX402_URL",
    "galaksio_storage": "GALAKSIO_STORAGE_URL",
    "pinata": "PINATA_URL",
    "arweave": "ARWEAVE_URL",
    "merit-systems": "MERIT_SYSTEMS_URL",
    "akash": "AKASH_URL",
}


async def failure(outside: Outside, url: str) -> str:
    with pytest.raises(Failed) as caught:
        await outside.ask("GET", url)
    return str(caught.value)


async def test_an_answer_is_read_whole(outside: Outside) -> None:
    async with serving(Server(whole(b'{"a": 1}', "X-Some: Thing", status="402 Payment Required"))) as server:
        heard = await outside.ask("POST", server.url, json={"b": 2})
    assert (heard.status, heard.body, heard.headers["x-some"]) == (402, b'{"a": 1}', "Thing")
    (head,) = server.heads
    assert head.startswith("POST /price HTTP/1.1\r\n")
    assert f"user-agent: galaksio/{__version__}\r\n" in head.lower()
    assert "accept-encoding: identity\r\n" in head.lower()


async def test_an_answer_that_drips_does_not_outlive_the_time_limit(hurried: Outside) -> None:
    async with serving(Server(whole(b"x" * 1000), drips=True)) as server:
        began = time.monotonic()
        assert await failure(hurried, server.url) == "no whole answer within 0.6 s"
    assert 0.5 < time.monotonic() - began < 10


async def test_a_server_that_says_nothing_is_waited_for_no_longer(hurried: Outside) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        began = time.monotonic()
        assert await failure(hurried, url) == "no whole answer within 0.6 s"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("name", "setting"), URL_OF.items())
@pytest.mark.parametrize(
    "server", [Server(PRICE, drips=True), Server(PRICE[:-20], resets=True)], ids=["drip", "reset"]
)
async def test_a_seller_whose_price_drips_or_breaks_off_is_declined(
    name: str, setting: str, server: Server
) -> None:
    async with serving(server), sellers(timeout_s=0.5, **{setting: server.url}) as found:
        assert isinstance(await declined(found[name]), Failed)
    assert len(server.heads) > 0


@pytest.mark.parametrize(
    "server",
    [
        Server(b"", resets=True),
        Server(OK + b"Content-Length: 100\r\n\r\nhalf", resets=True),
        Server(OK + b"Content-Length: 100\r\n\r\nhalf"),
        Server(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        Server(OK + b"Content-Length: -5\r\n\r\n"),
        Server(b""),
        Server(b"SSH-2.0-OpenSSH_9.9\r\n"),
        Server(b"HTTP/1.1 9999 What\r\n\r\n"),
        Server(OK + b"X-Long: " + b"x" * 200_000 + b"\r\n\r\n"),
    ],
    ids=["reset", "reset in the body", "half", "chunks", "length", "nothing", "ssh", "status", "head"],
)
async def test_what_breaks_off_or_is_no_http_is_said_in_our_words(server: Server, outside: Outside) -> None:
    async with serving(server):
        assert await failure(outside, server.url) == "its answer broke off, or is not HTTP"


async def test_a_server_that_is_not_there_or_speaks_no_tls_cannot_be_reached(outside: Outside) -> None:
    assert await failure(outside, f"http://127.0.0.1:{free_port()}/") == "it cannot be reached"

    async def without_tls(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(b"", status="400 Bad Request"))
        writer.close()

    async with await asyncio.start_server(without_tls, "127.0.0.1", port := free_port()):
        assert await failure(outside, f"https://127.0.0.1:{port}/") == "it cannot be reached"


@pytest.mark.parametrize(
    "url", ["http://", "http:///x", "http://[", "http://a b/", "ftp://a/", "http://a:b/"]
)
async def test_an_address_that_is_none_is_no_exception_of_others(url: str, outside: Outside) -> None:
    assert await failure(outside, url)


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_is_read_up_to_its_cap(declared: bool, outside: Outside) -> None:
    for size, fits in ((MAX_BODY_BYTES, True), (MAX_BODY_BYTES + 1, False)):
        answer = whole(b"x" * size) if declared else OK + b"\r\n" + b"x" * size
        async with serving(Server(answer)) as server:
            if fits:
                assert len((await outside.ask("GET", server.url)).body) == size
            else:
                assert await failure(outside, server.url) == "its answer is over 64 KB"


async def test_a_gigabyte_is_not_waited_for(outside: Outside) -> None:
    endless = Server(OK + b"Content-Length: 1073741824\r\n\r\n" + b"x" * 2**20)
    async with serving(endless):
        assert await failure(outside, endless.url) == "its answer is over 64 KB"


async def test_a_packed_answer_is_not_unpacked(outside: Outside) -> None:
    async with serving(Server(whole(gzip.compress(b"0" * 10**6), "Content-Encoding: gzip"))) as server:
        assert "packs" in await failure(outside, server.url)


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent", "304 No"]
)
async def test_redirects_are_not_followed(status: str, outside: Outside) -> None:
    async with serving(Server(whole(b"", "Location: /price", status=status))) as server:
        assert "redirects" in await failure(outside, server.url)
    assert len(server.heads) == 1


async def test_cookies_are_not_kept(outside: Outside) -> None:
    async with serving(Server(whole(b"", "Set-Cookie: who=you; Path=/"))) as server:
        await outside.ask("GET", server.url)
        await outside.ask("GET", server.url)
    assert len(server.heads) == 2
    assert not any("cookie" in head.lower() for head in server.heads)


async def test_passwords_in_netrc_stay_there(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text(
        "machine 127.0.0.1 login me password secret\ndefault login me password s\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with serving(Server(whole(b""))) as server, Outside(20.0) as client:
        await client.ask("GET", server.url)
    assert "authorization" not in server.heads[0].lower()


async def test_a_host_behind_a_proxy_asks_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(Server(whole(b"through"))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/price"))
        async with Outside(20.0) as client:
            assert (await client.ask("GET", "http://seller.invalid/price")).body == b"through"
    assert proxy.heads[0].startswith("GET http://seller.invalid/price HTTP/1.1")


async def test_a_cancelled_question_leaves_no_connection_behind(outside: Outside) -> None:
    async with serving(Server(whole(b"x" * 1000), drips=True)) as server:
        task = asyncio.create_task(outside.ask("GET", server.url))
        while not server.heads:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.drips = False
        assert (await outside.ask("GET", server.url)).status == 200
