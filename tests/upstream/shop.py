"""Selling over x402 as a stock server does it: 402, verify, work, settle, receipt."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from shared.networks import network_named
from tests.support.wallets import b64, new_wallet
from tests.upstream.served import Served

NETWORK = network_named("base-sepolia")
PAYMENT_HEADERS = ("x-payment", "payment-signature")


@dataclass(frozen=True)
class Asked:
    """One request that came. `payment` is the decoded payment header, None where there was none."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    payment: dict[str, Any] | None

    @property
    def nonce(self) -> str | None:
        return None if self.payment is None else str(self.payment["payload"]["authorization"]["nonce"])


@dataclass(frozen=True)
class Settled:
    """Money that arrived, in atomic units."""

    payer: str
    nonce: str
    amount_atomic: int
    transaction: str


class Shop:
    """A provider's HTTP server, with the switches that tests turn. Times in seconds, prices atomic.

    Each switch may be turned at any time, and counts from the next request on:

    - `price`: what is asked for; `pay_to`: whom;
    - `extra`: what a challenge says of the token's EIP-712 domain; `max_timeout_s`: how long it may take;
    - `answer_402_again`: a payment is answered with a 402, and neither verified nor settled;
    - `fail_before_settling`: the work fails with a 500 and no money moves;
    - `fail_after_payment`: the money is taken, then comes a 500;
    - `cut_after_payment`: the money is taken, then the connection breaks, that many times;
    - `die_when_paid`: as a payment comes, the server is gone before it settles;
    - `hang_s`: a pause before each paid answer, `hang_unpaid_s` before each other one;
    - `remembers`: the same payment again gets the same answer, as from Galaksio; a stock server answers 402;
    - `receipt`: laid over the receipt that is sent; None in `receipt_header` leaves it out;
    - `reply`: what is answered to everybody instead of all this.
    """

    def __init__(self, name: str, version: int, price: int, devnet_url: str) -> None:
        self.name = name
        self.version = version
        self.price = price
        self.pay_to = new_wallet().address
        self.extra = {"name": NETWORK.domain_name, "version": NETWORK.domain_version}
        self.max_timeout_s = 60
        self.answer_402_again = False
        self.fail_before_settling = False
        self.fail_after_payment = False
        self.cut_after_payment = 0
        self.die_when_paid = False
        self.hang_s = 0.0
        self.hang_unpaid_s = 0.0
        self.remembers = False
        self.receipt: dict[str, Any] = {}
        self.receipt_header = True
        self.reply: Callable[[Asked], Response | None] = lambda _: None

        self.requests: list[Asked] = []
        self.settled: list[Settled] = []
        self._remembered: dict[str, Response] = {}
        self._devnet_url = devnet_url
        self.app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})
        self.app.middleware("http")(self._every)
        self._served = Served(self.app)

    @property
    def url(self) -> str:
        return self._served.url

    @property
    def paid_requests(self) -> list[Asked]:
        return [asked for asked in self.requests if asked.payment is not None]

    def start(self) -> None:
        self._served.start()

    def die(self) -> None:
        """Stop listening and cut every connection; `start` brings it back on the same port."""
        self._served.stop()

    async def sell(self, request: Request, work: Callable[[], Awaitable[dict[str, Any]]]) -> Response:
        """Do `work` for a payment of `price`."""
        wanted = self._requirements(request)
        payment = _payment(request)
        if payment is None or self.answer_402_again:
            return self._challenge(request, wanted, "payment required")
        nonce = str(payment["payload"]["authorization"]["nonce"])
        if self.die_when_paid:
            self._served.end()
            await asyncio.Event().wait()
        if nonce in self._remembered:
            return await self._end(self._remembered[nonce])
        checked = await self._facilitator("/verify", payment, wanted)
        if not checked["isValid"]:
            return self._challenge(request, wanted, str(checked["invalidReason"]))
        if self.fail_before_settling:
            return JSONResponse({"error": "internal"}, 500)
        result = await work()
        receipt = await self._facilitator("/settle", payment, wanted)
        if not receipt["success"]:
            return self._challenge(request, wanted, str(receipt["errorReason"]))
        self.settled.append(Settled(receipt["payer"], nonce, self.price, receipt["transaction"]))
        return await self._answer(nonce, result, receipt)

    async def _answer(self, nonce: str, result: dict[str, Any], receipt: dict[str, Any]) -> Response:
        header = "X-PAYMENT-RESPONSE" if self.version == 1 else "PAYMENT-RESPONSE"
        headers = {header: b64({**receipt, **self.receipt})} if self.receipt_header else {}
        response: Response = JSONResponse(result, headers=headers)
        if self.remembers:
            self._remembered[nonce] = response
        return await self._end(response)

    async def _end(self, response: Response) -> Response:
        if self.cut_after_payment:
            self.cut_after_payment -= 1
            self._served.cut()
        await asyncio.sleep(self.hang_s)
        return JSONResponse({"error": "internal"}, 500) if self.fail_after_payment else response

    async def _every(self, request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        body = await request.body()
        asked = Asked(request.method, request.url.path, dict(request.headers), body, _payment(request))
        self.requests.append(asked)
        if asked.payment is None:
            await asyncio.sleep(self.hang_unpaid_s)
        return self.reply(asked) or await go_on(request)

    def _requirements(self, request: Request) -> dict[str, Any]:
        common = {
            "scheme": "exact",
            "payTo": self.pay_to,
            "maxTimeoutSeconds": self.max_timeout_s,
            "asset": NETWORK.asset,
            "extra": self.extra,
        }
        if self.version == 2:
            return {**common, "network": NETWORK.caip2, "amount": str(self.price)}
        return {
            **common,
            "network": NETWORK.name,
            "maxAmountRequired": str(self.price),
            "resource": str(request.url),
            "description": self.name,
            "mimeType": "application/json",
        }

    def _challenge(self, request: Request, wanted: dict[str, Any], error: str) -> Response:
        document = {"x402Version": self.version, "error": error, "accepts": [wanted]}
        if self.version == 1:
            return JSONResponse(document, 402)
        resource = {"url": str(request.url), "description": self.name, "mimeType": "application/json"}
        return JSONResponse({}, 402, headers={"PAYMENT-REQUIRED": b64({**document, "resource": resource})})

    async def _facilitator(
        self, path: str, payment: dict[str, Any], wanted: dict[str, Any]
    ) -> dict[str, Any]:
        body = {"x402Version": self.version, "paymentPayload": payment, "paymentRequirements": wanted}
        async with httpx.AsyncClient(
            base_url=self._devnet_url, timeout=20, trust_env=False, verify=False
        ) as http:
            answer = (await http.post(path, json=body)).raise_for_status()
        decoded: dict[str, Any] = answer.json()
        return decoded


def _payment(request: Request) -> dict[str, Any] | None:
    """The payment of a request, whichever version's header carries it."""
    for name in PAYMENT_HEADERS:
        if value := request.headers.get(name):
            decoded: dict[str, Any] = json.loads(base64.b64decode(value))
            return decoded
    return None
