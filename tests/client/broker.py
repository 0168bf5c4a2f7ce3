"""A broker of our making, that answers as a script says and remembers which payments it was sent."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from eth_account import Account

from galaksio import AsyncClient, Client
from shared.networks import network_named
from tests.support.standin import Answer, StandIn

KEY = "0x" + bytes(Account.create().key).hex()
NETWORK = network_named("base-sepolia")
HOST = "0x" + "bb" * 20
THIEF = "0x" + "cc" * 20
RESULT = {
    "stdout": "done\n",
    "stderr": "",
    "exitCode": 0,
    "executionTime": 1,
    "isolation": "none",
    "language": "python",
    "version": "3",
}
DONE = Answer.of(
    {"jobId": "job", "status": "completed", "provider": "local", "price_usd": "0.01", "result": RESULT}
)
IDENTIFIER = {"payment-identifier": {"info": {"required": False}, "schema": {}}}

Script = Callable[[int, str | None], Answer]
"""What is said to the nth request that buys (from 0), with the payment that it carries."""


def priced(
    atomic: int | str = 10_000, *, extensions: dict[str, Any] | None = None, more: Any = (), **changes: Any
) -> Answer:
    """A 402. `changes` replace fields of the way to pay, `more` are ways to pay ahead of it."""
    entry = {
        "scheme": "exact",
        "network": NETWORK.caip2,
        "amount": str(atomic),
        "payTo": HOST,
        "maxTimeoutSeconds": 60,
        "asset": NETWORK.asset,
        "extra": {"name": NETWORK.domain_name, "version": NETWORK.domain_version},
        **changes,
    }
    resource = {"url": "http://broker.test/run"}
    document = {"x402Version": 2, "resource": resource, "accepts": [*more, entry], "extensions": extensions}
    header = base64.b64encode(json.dumps(document).encode()).decode()
    told = {"error": "payment required", "code": "payment_required"}
    return Answer.of(told, 402, headers=(("PAYMENT-REQUIRED", header),))


def refused(status: int, code: str, **more: Any) -> Answer:
    return Answer.of({"error": f"because of {code}", "code": code, "requestId": "req", **more}, status)


class Broker(StandIn):
    """`payments` has what each request carried, None for one without; `paths` is where they all went."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script
        self.payments: list[str | None] = []
        self.paths: list[str] = []
        self.jobs: list[str] = []
        self.refusal: Answer | None = None
        """Said to whatever is free."""

    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        self.paths.append(f"{method} {path}")
        if method == "GET":
            return self.refusal or Answer.of({"status": self.jobs.pop(0) if self.jobs else "completed"})
        head = self.heads[-1].split("\r\n")
        found = [row.partition(": ")[2] for row in head if row.lower().startswith("payment-signature:")]
        self.payments.append(found[0] if found else None)
        return self.script(len(self.payments) - 1, self.payments[-1])

    @property
    def signed(self) -> list[dict[str, Any]]:
        """The different payments that were sent, decoded."""
        unique = dict.fromkeys(payment for payment in self.payments if payment)
        return [json.loads(base64.b64decode(payment)) for payment in unique]


def sells(price: Answer | None = None) -> Script:
    """An honest broker."""
    return lambda _, payment: DONE if payment else price or priced()


@contextmanager
def broker_that(script: Script) -> Iterator[Broker]:
    broker = Broker(script)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def client_of(broker: Broker, **options: Any) -> Client:
    return Client(KEY, broker.url, **options)


def async_client_of(broker: Broker, **options: Any) -> AsyncClient:
    return AsyncClient(KEY, broker.url, **options)
