"""A small internet on this machine: names, public addresses, and servers behind them.

The code under test looks names up here and checks the addresses that it gets, as always; only a socket that
connects to a public address ends at a port of ours. Nothing of a check is switched off.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.storage.fetch import FetchOptions
from executor.storage.fetching.names import AddressInfo

CERTIFICATE = Path(__file__).with_name("files.example.org.pem")
ADDRESS = "93.184.215.14"
"""Where a server is, unless it is placed elsewhere."""


@dataclass(frozen=True)
class Page:
    """An answer as it goes over the line: a head, then `parts` with `pause_s` before each."""

    parts: tuple[bytes, ...] = (b"",)
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    length: int | None = -1
    """What Content-Length says: the truth at -1, nothing at None."""
    pause_s: float = 0.0

    @classmethod
    def of(cls, body: bytes, **headers: str) -> "Page":
        return cls((body,), headers=tuple((name.replace("_", "-"), text) for name, text in headers.items()))

    @classmethod
    def to(cls, location: str, status: int = 302) -> "Page":
        return cls(status=status, headers=(("Location", location),))


@dataclass(frozen=True)
class Heard:
    """A request as a server got it; header names in lower case, `sni` the name that TLS was asked for."""

    method: str
    path: str
    headers: Mapping[str, str]
    sni: str | None


@dataclass
class Internet:
    """`names` says what each look-up of a name gives, the last answer for ever; `pages` what a path gives."""

    names: dict[str, list[list[str]]] = field(default_factory=dict)
    pages: dict[str, Page] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)
    connected: list[tuple[str, int]] = field(default_factory=list)
    ports: dict[int, int] = field(default_factory=dict)
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    def options(self, **more: Any) -> FetchOptions:
        """Options of a fetcher that lives in this internet."""
        # A busy machine takes its time: tests of a limit set it themselves.
        usual = {"max_bytes": 1_000_000, "timeout_s": 40.0, "read_timeout_s": 20.0, "measure_timeout_s": 40.0}
        trust = ssl.create_default_context(cafile=CERTIFICATE)
        usual["connect_timeout_s"] = 20.0
        replaced = {"lookup": self.lookup, "open_socket": self.open_socket, "trust": trust}
        return FetchOptions(**{**usual, **replaced, **more})

    async def lookup(self, name: str) -> list[str]:
        self.looked_up.append(name)
        answers = self.names.get(name, [[ADDRESS]])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def open_socket(self, info: AddressInfo) -> socket.socket:
        address, port = info[4][0], info[4][1]
        self.connected.append((address, port))
        return _Rerouted(info[0], self.ports[port])

    def url_of(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://files.example.org{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._answer(reader, writer)
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *rows = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): text for name, _, text in (row.partition(": ") for row in rows)}
        tls = writer.get_extra_info("ssl_object")
        self.heard.append(Heard(method, path, headers, getattr(tls, "asked_for", None)))
        page = self.pages.get(f"{method} {path}") or self.pages.get(path) or Page(status=404)
        writer.write(_head(page))
        if method == "HEAD":
            return
        for part in page.parts:
            await asyncio.sleep(page.pause_s)
            writer.write(part)
            await writer.drain()


@asynccontextmanager
async def small_internet() -> AsyncIterator[Internet]:
    """Servers for http at port 80 and https at port 443 of whatever public address is connected to."""
    internet = Internet()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    tls.sni_callback = lambda connection, name, _: setattr(connection, "asked_for", name)
    http = await asyncio.start_server(internet._serve, "127.0.0.1", 0)
    https = await asyncio.start_server(internet._serve, "127.0.0.1", 0, ssl=tls)
    internet.ports = {80: _port(http), 443: _port(https), 8080: _port(http)}
    try:
        yield internet
    finally:
        http.close()
        https.close()
        for task in internet._open:
            task.cancel()
        if internet._open:
            await asyncio.wait(internet._open)


class _Rerouted(socket.socket):
    """A socket that ends at a port of this machine, wherever it is told to connect to.

    It says that it is of the family it was asked for: no IPv6 is needed to test with IPv6 addresses.
    """

    def __init__(self, family: int, port: int) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self._family = socket.AddressFamily(family)
        self._end = ("127.0.0.1", port)

    @property
    def family(self) -> socket.AddressFamily:
        return self._family

    def connect(self, address: Any) -> None:
        super().connect(self._end)


def _head(page: Page) -> bytes:
    rows = [f"HTTP/1.1 {page.status} Whatever", "Connection: close"]
    if page.length is not None:
        rows.append(f"Content-Length: {sum(map(len, page.parts)) if page.length < 0 else page.length}")
    rows += [f"{name}: {text}" for name, text in page.headers]
    return "\r\n".join([*rows, "", ""]).encode("utf-8")


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])
