"""A door in front of a broker that pays for whoever comes through it, and remembers what it signed.

Requests and answers pass as they are. A 402 is paid, in x402 v2 by our own client and in v1 by hand, and the
request is sent again, sometimes twice with the same authorization; some prices are passed on unpaid.
"""

import base64
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from galaksio.errors import NotPaid
from galaksio.wallet import Wallet as Purse
from tests.support.ports import free_port
from tests.support.services import HOST_WALLET
from tests.support.wallets import Wallet

CAP_ATOMIC = 2_000_000
PATIENCE_S = 90
MESSAGES = "/a2a/message"
PAYMENTS = ("x-payment", "payment-signature")
RECEIPTS = ("PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE")
_OF_THE_LINE = frozenset({"connection", "keep-alive", "transfer-encoding"})

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Manner:
    """How a price is paid: in which version of x402, and whether the payment is then sent once more."""

    version: Literal[1, 2]
    again: bool = False


TURNS = (Manner(2, again=True), Manner(1), None, Manner(1, again=True), Manner(2))
"""At each route in turn; None leaves a price unpaid."""


@dataclass(frozen=True)
class Asked:
    """A request with its target and its headers as they were sent."""

    method: str
    target: str
    headers: Headers
    body: bytes

    @property
    def route(self) -> str:
        """Its path without what differs from request to request."""
        first, _, rest = urlsplit(self.target).path[1:].partition("/")
        if self.target == MESSAGES or not rest:
            return self.target
        return f"/{first}/…/topup" if rest.endswith("/topup") else f"/{first}/…"

    @property
    def pays(self) -> bool:
        return any(name.lower() in PAYMENTS for name, _ in self.headers)


@dataclass
class Spent:
    """An authorization, where it went, and what was answered to it each time."""

    asked: Asked
    manner: Manner
    nonce: str
    amount_atomic: int
    answers: list[httpx.Response] = field(default_factory=list)

    @property
    def receipts(self) -> list[dict[str, Any]]:
        """What the broker says it took for it, once for each time that it said so."""
        return [receipt for answer in self.answers if (receipt := receipt_in(answer)).get("success")]


class Door:
    """Sends what comes to the broker at `url`, and pays for it from `wallet`, `CAP_ATOMIC` at most."""

    def __init__(self, url: str, wallet: Wallet) -> None:
        self.wallet = wallet
        self.spent: list[Spent] = []
        self.left_unpaid = 0
        """Prices that were passed on, be it in turn or because they were over the cap."""
        self._purse = Purse(
            wallet.key,
            "base-sepolia",
            cap_atomic=CAP_ATOMIC,
            budget_atomic=None,
            pay_to=HOST_WALLET,
            on_price=None,
        )
        self._turns: dict[str, count[int]] = defaultdict(count)
        self._broker = urlsplit(url)

    def answer(self, asked: Asked) -> httpx.Response:
        """The broker's answer to `asked`, or to it with a payment."""
        answer = self.send(asked)
        price = None if asked.pays else price_in(asked, answer)
        if price is None:
            return answer
        manner = TURNS[next(self._turns[asked.route]) % len(TURNS)]
        header = {} if manner is None else self._signed(price, manner)
        if manner is None or not header:
            self.left_unpaid += 1
            return answer
        authorization = opened(header)["payload"]["authorization"]
        paying = with_payment(asked, answer, header)
        spent = Spent(paying, manner, authorization["nonce"], int(authorization["value"]))
        self.spent.append(spent)
        for _ in range(1 + manner.again):
            spent.answers.append(self.send(paying))
        return spent.answers[-1]

    def send(self, asked: Asked) -> httpx.Response:
        """What the broker says to exactly this."""
        connection = HTTPConnection(self._broker.hostname or "", self._broker.port, timeout=PATIENCE_S)
        try:
            connection.putrequest(asked.method, asked.target, skip_host=True, skip_accept_encoding=True)
            for name, value in asked.headers:
                connection.putheader(name, value.encode("latin-1"))
            connection.endheaders(asked.body)
            answer = connection.getresponse()
            return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())
        finally:
            connection.close()

    def _signed(self, price: httpx.Response, manner: Manner) -> dict[str, str]:
        """The header that pays `price`; empty where that is over the cap."""
        try:
            signed = self._purse.authorize(price.headers, price.content, None, None)
        except NotPaid:
            return {}
        # A page for browsers has its price only in the header, which is that of v2.
        told_in_v1 = price.headers["content-type"] == "application/json"
        return self.wallet.pay_v1(price) if manner.version == 1 and told_in_v1 else signed.headers


def price_in(asked: Asked, answer: httpx.Response) -> httpx.Response | None:
    """The 402 that `answer` is, or that a message tells of."""
    if asked.target != MESSAGES:
        return answer if answer.status_code == 402 and "PAYMENT-REQUIRED" in answer.headers else None
    said = answer.json()
    if said.get("type") != "payment_required":
        return None
    return httpx.Response(
        402, json=said["payload"], headers={"PAYMENT-REQUIRED": said["meta"]["paymentRequired"]}
    )


def with_payment(asked: Asked, answer: httpx.Response, header: dict[str, str]) -> Asked:
    """The request that pays: the same with `header`, or the message that belongs to it."""
    if asked.target != MESSAGES:
        return replace(asked, headers=(*asked.headers, *header.items()))
    (payment,) = header.values()
    meta = {"jobId": answer.json()["meta"]["jobId"], "payment": payment}
    body = json.dumps({"type": "payment_submitted", "payload": {}, "meta": meta}).encode()
    others = (pair for pair in asked.headers if pair[0].lower() != "content-length")
    return replace(asked, body=body, headers=(*others, ("Content-Length", str(len(body)))))


def receipt_in(answer: httpx.Response) -> dict[str, Any]:
    """The receipt of a payment, empty where there is none."""
    for name in RECEIPTS:
        if name in answer.headers:
            return opened({name: answer.headers[name]})
    if answer.headers.get("content-type") != "application/json":
        return {}
    said = answer.json()
    meta = said.get("meta") if isinstance(said, dict) else None
    receipt: dict[str, Any] = meta.get("receipt", {}) if isinstance(meta, dict) else {}
    return receipt


def opened(header: dict[str, str]) -> dict[str, Any]:
    (value,) = header.values()
    read: dict[str, Any] = json.loads(base64.b64decode(value))
    return read


class _Visit(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body at once: the other side waits a while to acknowledge half an answer
    door: Door

    def __getattr__(self, name: str) -> Any:
        """Every method is passed on alike."""
        if name.startswith("do_"):
            return self._pass_on
        raise AttributeError(name)

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        answer = self.door.answer(Asked(self.command, self.path, tuple(self.headers.items()), body))
        self.send_response_only(answer.status_code)
        for name, value in answer.headers.multi_items():
            if name.lower() not in _OF_THE_LINE:
                self.send_header(name, value)
        if "Transfer-Encoding" in answer.headers:
            self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what matters is in `spent`."""


@contextmanager
def paying_door(url: str, wallet: Wallet) -> Iterator[tuple[str, Door]]:
    """A door to the broker at `url`, and its own address, until the end of the block."""
    door, port = Door(url, wallet), free_port()
    visit = type("Visit", (_Visit,), {"door": door})
    with ThreadingHTTPServer(("127.0.0.1", port), visit) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}", door
        finally:
            server.shutdown()
            thread.join()
