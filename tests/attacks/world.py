"""The broker's real process among scriptable neighbours, and what the tests ask of it."""

import base64
import itertools
import json
import re
import secrets
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from tests.attacks.facilitator import Facilitator
from tests.attacks.neighbours import Executor, QuoteService
from tests.support.services import HOST_WALLET, Stack, clean_environment
from tests.support.wallets import Wallet, b64

FACILITATOR_TIMEOUT_S = 15.0
"""Longer than a busy machine keeps an answer back."""
_addresses = itertools.count(2)
_PROGRAM = r"(?i:/site-packages/|\.py\b|sqlite|sqlalchemy|pydantic|httpx|uvicorn|starlette)"
_FAILURE = (
    r"(?i:Traceback|File \"|/work/)|\b[A-Z][A-Za-z]+(?:Error|Exception|Timeout)\b"
    r"|127\.0\.0\.1:\d+/(?:verify|settle|quote)"
)
_LEAKS = re.compile(f"{_PROGRAM}|{_FAILURE}")
_LEAKS_IN_A_PAGE = re.compile(_FAILURE)
"""The page for browsers shows a Python program that pays."""


Heard = tuple[int, dict[str, str], str]
"""Status, headers and body of an answer."""


@dataclass(frozen=True)
class Seen:
    """A row of the payments table with its job's status."""

    state: str
    job_id: str
    amount_atomic: int
    transaction_hash: str | None
    job_status: str


@dataclass
class World:
    """One state folder, its brokers, and the three neighbours they talk to."""

    stack: Stack
    facilitator: Facilitator
    quote: QuoteService
    executor: Executor

    def be_honest(self) -> None:
        """Forget all scripts of earlier tests."""
        for neighbour in (self.facilitator, self.quote, self.executor):
            neighbour.be_honest()

    def client(self, broker: str = "broker", **more: Any) -> httpx.Client:
        """A client with a source address of its own, which checks every answer for leaks."""
        transport = httpx.HTTPTransport(
            verify=False, local_address=new_address(), limits=httpx.Limits(max_connections=None)
        )
        return httpx.Client(
            base_url=self.stack.url(broker),
            transport=transport,
            timeout=30,
            event_hooks={"response": [check_clean_response]},
            **more,
        )

    def async_client(self, broker: str = "broker") -> httpx.AsyncClient:
        async def check(response: httpx.Response) -> None:
            await response.aread()
            check_clean(response.status_code, response.text)

        transport = httpx.AsyncHTTPTransport(
            verify=False, local_address=new_address(), limits=httpx.Limits(max_connections=None)
        )
        return httpx.AsyncClient(
            base_url=self.stack.url(broker),
            transport=transport,
            timeout=30,
            event_hooks={"response": [check]},
        )

    def payments(self, wallet: Wallet) -> list[Seen]:
        """This wallet's rows in the ledger, oldest first."""
        with closing(
            sqlite3.connect(f"file:{self.stack.home / 'broker.sqlite'}?mode=ro", uri=True)
        ) as database:
            rows = database.execute(
                "SELECT p.state, p.job_id, p.amount_atomic, p.transaction_hash, j.status"
                " FROM payments p JOIN jobs j ON j.id = p.job_id WHERE p.payer = ? ORDER BY p.created_at",
                (wallet.address.lower(),),
            ).fetchall()
        return [Seen(*row) for row in rows]

    def states(self, wallet: Wallet) -> list[str]:
        return [seen.state for seen in self.payments(wallet)]

    def runs(self, *bodies: dict[str, Any]) -> int:
        """How many runs these requests have come to."""
        return sum(self.executor.runs[body["code"]] for body in bodies)

    def assert_sold_once(self, wallet: Wallet, *bodies: dict[str, Any]) -> None:
        assert self.runs(*bodies) == 1
        assert self.facilitator.settles(wallet.address) == 1
        assert len(self.facilitator.moved(wallet.address)) == 1
        assert self.states(wallet) == ["settled"]

    def assert_nothing_sold(self, wallet: Wallet, *bodies: dict[str, Any]) -> None:
        assert self.runs(*bodies) == 0
        assert self.facilitator.settles(wallet.address) == 0
        assert set(self.states(wallet)) <= {"voided"}

    def assert_free_of_charge(self, wallet: Wallet) -> None:
        """Whatever was begun: no money was asked for, and the authorization is free again."""
        assert self.facilitator.settles(wallet.address) == 0
        assert set(self.states(wallet)) == {"voided"}

    def raw(
        self, request: bytes, *, broker: str = "broker", shut: bool = False, patience_s: float = 15
    ) -> tuple[int, str, str]:
        """Status, head and body of the answer to `request` as it stands; status 0 when there is none."""
        with self.connection(broker) as connection:
            connection.settimeout(patience_s)
            try:
                connection.sendall(request)
                if shut:
                    connection.shutdown(socket.SHUT_WR)
                return read_answer(connection)
            except (ConnectionError, TimeoutError):
                return 0, "", ""

    def pipelined(
        self, requests: list[bytes], enough: Callable[[list[Heard]], bool] = lambda _: False
    ) -> list[Heard]:
        """The answers; all asked over one connection, fifty at a time, until there are `enough`."""
        answers = list[Heard]()
        with self.connection() as connection, connection.makefile("rb") as stream:
            for first in range(0, len(requests), 50):
                batch = requests[first : first + 50]
                connection.sendall(b"".join(batch))
                answers += [read_next(stream) for _ in batch]
                if enough(answers):
                    break
        return answers

    @contextmanager
    def connection(self, broker: str = "broker") -> Iterator[socket.socket]:
        port = self.stack.ports[broker]
        with socket.create_connection(("127.0.0.1", port), 15, source_address=(new_address(), 0)) as raw:
            yield raw


@contextmanager
def running_world(
    home: Path,
    *,
    brokers: int = 1,
    lease_s: float = 2.0,
    facilitator_timeout_s: float = FACILITATOR_TIMEOUT_S,
    **more: str,
) -> Iterator[World]:
    """Brokers on one state folder: the first is `broker`, the further ones `broker2`, …"""
    facilitator, quote, executor = Facilitator(), QuoteService(), Executor()
    environment = clean_environment(
        GALAKSIO_HOME=str(home),
        X402_WALLET_ADDRESS=HOST_WALLET,
        X402_FACILITATOR_URL=facilitator.url,
        FACILITATOR_TIMEOUT_S=str(facilitator_timeout_s),
        QUOTE_SERVICE_URL=quote.url,
        EXECUTOR_SERVICE_URL=executor.url,
        CHAIN_RPC_URL=facilitator.url + "/rpc",
        LEDGER_LEASE_S=str(lease_s),
        INTERNAL_API_TOKEN="test-token",
        **more,
    )
    stack = Stack(home, environment)
    for neighbour in (facilitator, quote, executor):
        neighbour.start()
    try:
        names = ["broker", *(f"broker{number}" for number in range(2, brokers + 1))]
        started = [stack.launch("broker", name) for name in names]
        for process in started:
            process.wait_ready()
        yield World(stack, facilitator, quote, executor)
    finally:
        stack.stop()
        for neighbour in (facilitator, quote, executor):
            neighbour.stop()


def new_address() -> str:
    """A loopback address that nobody else sends from: limits per address do not mix tests up."""
    number = next(_addresses)
    return f"127.{100 + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"


def new_body(**more: Any) -> dict[str, Any]:
    """A request that no other test sends."""
    return {"code": f"print('{secrets.token_hex(8)}')", "timeout": 5, **more}


def opened(headers: dict[str, str]) -> dict[str, Any]:
    """The envelope in a payment header."""
    (value,) = headers.values()
    envelope: dict[str, Any] = json.loads(base64.b64decode(value))
    return envelope


def closed(envelope: dict[str, Any]) -> dict[str, str]:
    """The header for an envelope, v1 or v2 by its own word."""
    return {"X-PAYMENT" if envelope["x402Version"] == 1 else "PAYMENT-SIGNATURE": b64(envelope)}


def challenge_of(client: httpx.Client, body: dict[str, Any], path: str = "/run") -> httpx.Response:
    response = client.post(path, json=body)
    assert response.status_code == 402, response.text
    return response


def price_of(challenge: httpx.Response) -> int:
    return int(challenge.json()["accepts"][0]["maxAmountRequired"])


def check_clean(status: int, text: str) -> None:
    """No answer is a 500 or tells anything about the program behind it."""
    assert status != 500, text
    leaks = _LEAKS_IN_A_PAGE if text.startswith("<!doctype html>") else _LEAKS
    leak = leaks.search(text)
    assert leak is None, f"{leak and leak.group()!r} in {text[:2000]}"


def check_clean_response(response: httpx.Response) -> None:
    response.read()
    check_clean(response.status_code, response.text)


def read_answer(connection: socket.socket) -> tuple[int, str, str]:
    """One HTTP answer: status, head, body. A closed connection is status 0."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            return 0, "", ""
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    wanted = next(
        (int(row[15:]) for row in text.split("\r\n") if row.lower().startswith("content-length:")), 0
    )
    while len(body) < wanted:
        part = connection.recv(65536)
        if not part:
            break
        body += part
    status = int(text.split(" ")[1])
    check_clean(status, body.decode("latin-1"))
    return status, text, body.decode("latin-1")


def read_next(stream: BinaryIO) -> Heard:
    """The next answer on a connection that stays open; header names in lower case."""
    status = int(stream.readline().split(b" ")[1])
    headers = {}
    while row := stream.readline().strip().decode("latin-1"):
        name, _, value = row.partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers["content-length"])).decode()
    check_clean(status, body)
    return status, headers, body


def http_request(
    body: dict[str, Any] | bytes,
    *headers: tuple[str, str],
    method: str = "POST",
    target: str = "/run",
    host: str = "galaksio.example",
) -> bytes:
    """The bytes of a request, exactly as given."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    rows = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Content-Type: application/json"]
    rows += [f"Content-Length: {len(content)}"]
    if not any(name == "Connection" for name, _ in headers):
        rows.append("Connection: close")
    rows += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*rows, "", ""]).encode("latin-1") + content


@contextmanager
def sent_meanwhile(
    client: httpx.Client, body: dict[str, Any], headers: dict[str, str]
) -> Iterator[Future[httpx.Response]]:
    """The payment under way in another thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(client.post, "/run", json=body, headers=headers)


def wait_until(true: Callable[[], bool], what: str, limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.02)
