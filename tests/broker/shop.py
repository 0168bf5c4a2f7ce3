"""The whole broker in this process, asked in raw ASGI, with a clock moved by hand and a scripted quote."""

import ipaddress
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, patch

import httpx
import respx
from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import Message

from broker.main import create_app
from broker.payments.chain import Chain
from broker.payments.paid_route import Call, Gate
from broker.settings import BrokerSettings
from shared.settings import load_settings
from tests.attacks.neighbours import PRICE_ATOMIC, quote_list
from tests.broker.conftest import HOST, FakeClock

BODY = b'{"code": "print(1)"}'
NOWHERE = "http://127.0.0.1:9"
"""Refuses at once: the public facilitator and node are not asked by tests."""
Pairs = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Told:
    """An answer. `asked_gate` says whether the gate made it; status 0 is none at all."""

    status: int
    headers: Pairs
    body: bytes
    asked_gate: bool

    @property
    def id(self) -> bytes:
        return dict(self.headers)[b"x-request-id"]

    @property
    def without_id(self) -> tuple[int, Pairs, bytes]:
        """All of it but for the request id, which must stand in both its places."""
        assert b'"requestId":"' + self.id + b'"' in self.body
        assert dict(self.headers)[b"content-length"] == b"%d" % len(self.body)
        others = [pair for pair in self.headers if pair[0] not in {b"x-request-id", b"content-length"}]
        return self.status, others, self.body.replace(self.id, b"")


@dataclass
class CountingGate:
    gate: Gate
    asked: int = 0

    async def answer(self, call: Call) -> Response:
        self.asked += 1
        return await self.gate.answer(call)


@dataclass
class Shop:
    app: FastAPI
    clock: FakeClock
    gate: CountingGate
    price_atomic: int = PRICE_ATOMIC
    peer: str = "192.0.2.1"

    def open_again(self) -> None:
        """All that was told is over, and whoever asks now has not asked before."""
        self.clock.now += 86_400
        self.price_atomic = PRICE_ATOMIC
        self.peer = str(ipaddress.ip_address(self.peer) + 1)

    async def ask_twice(self) -> Told:
        """The answer that is kept: the gate's to a request that came before."""
        await self.ask()
        kept = await self.ask()
        assert kept.asked_gate
        return kept

    async def ask(
        self,
        body: bytes | list[Message] = BODY,
        *headers: tuple[bytes, bytes],
        length: int | None = None,
        **scope: Any,
    ) -> Told:
        """POST `body` to /run (a list of messages is received as it is), `scope` laid over the usual."""
        waiting = list(body) if isinstance(body, list) else [{"type": "http.request", "body": body}]
        size = sum(len(message.get("body", b"")) for message in waiting) if length is None else length
        usual = [(b"host", b"galaksio.example"), (b"content-type", b"application/json")]
        full_scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/run",
            "raw_path": b"/run",
            "query_string": b"",
            "root_path": "",
            "server": ("192.0.2.80", 80),
            "client": (self.peer, 5),
            "headers": [*usual, (b"content-length", b"%d" % size), *headers],
            **scope,
        }

        async def receive() -> Message:
            return waiting.pop(0) if waiting else {"type": "http.disconnect"}

        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        before = self.gate.asked
        await self.app(full_scope, receive, send)
        content = b"".join(message.get("body", b"") for message in sent[1:])
        start = sent[0] if sent else {"status": 0, "headers": []}
        return Told(start["status"], list(start["headers"]), content, self.gate.asked > before)


@asynccontextmanager
async def open_shop(home: Path, **settings: str) -> AsyncIterator[Shop]:
    """A broker with its own ledger in `home`."""
    nowhere = {"X402_FACILITATOR_URL": NOWHERE, "CHAIN_RPC_URL": NOWHERE}
    values = {"GALAKSIO_HOME": str(home), "X402_WALLET_ADDRESS": HOST, **nowhere, **settings}
    clock = FakeClock()
    app = create_app(load_settings(BrokerSettings, values), clock)
    # web3 asks a node that refuses five times over two seconds.
    no_node = patch.object(Chain, "head", AsyncMock(return_value=None))
    with no_node, respx.mock(assert_all_called=False) as remote:
        async with app.router.lifespan_context(app):
            gate = CountingGate(app.state.gate)
            app.state.gate = gate
            shop = Shop(app, clock, gate)
            remote.get(path="/providers").respond(json={"providers": [], "count": 0})
            remote.route(path__startswith="/quote/").mock(
                side_effect=lambda _: httpx.Response(200, json=quote_list(shop.price_atomic))
            )
            try:
                yield shop
            finally:
                app.state.gate = gate.gate


def value_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    (value,) = [value for given, value in headers if given == name]
    return value
