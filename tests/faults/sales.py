"""Customers who buy while services die, and the books in which it is seen what they got."""

import asyncio
import base64
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.faults.reaper import PATIENCE_S
from tests.support.services import HOST_WALLET, Stack
from tests.support.wallets import Wallet

FUNDS = 100_000_000
QUIET_S = 100.0


@dataclass
class Sale:
    """One thing that a customer wanted, and how far it came. `content` is what is to be had for it."""

    path: str
    request: dict[str, Any]
    content: bytes = b""
    gives_up: bool = False
    payment: dict[str, str] = field(default_factory=dict)
    answer: httpx.Response | None = None

    @property
    def authorization(self) -> tuple[str, str]:
        (header,) = self.payment.values()
        fields = json.loads(base64.b64decode(header))["payload"]["authorization"]
        return fields["from"].lower(), fields["nonce"].lower()


@dataclass(frozen=True)
class Booked:
    """What the ledger says of an authorization."""

    state: str
    job_id: str
    amount_atomic: int


async def buy(client: httpx.AsyncClient, wallet: Wallet, sale: Sale, version: int) -> None:
    """Ask, sign once, and send that one authorization again until it comes to something.

    Who `gives_up` sends it once: whatever happens then, nobody asks for it again.
    """
    challenge = await _until(client, sale, 402)
    sale.payment = wallet.pay_v1(challenge) if version == 1 else wallet.pay_v2(challenge)
    if sale.gives_up:
        try:
            sale.answer = await client.post(sale.path, **_with_payment(sale))
        except httpx.HTTPError:
            return
    else:
        sale.answer = await _until(client, sale, 200)


async def _until(client: httpx.AsyncClient, sale: Sale, wanted: int) -> httpx.Response:
    deadline = time.monotonic() + PATIENCE_S
    said = "no answer"
    while time.monotonic() < deadline:
        try:
            response = await client.post(sale.path, **_with_payment(sale))
        except httpx.HTTPError as exc:
            said = type(exc).__name__
        else:
            if response.status_code == wanted:
                return response
            said = f"{response.status_code} {response.text[:300]}"
            assert response.status_code in {202, 503}, f"{sale.path}: {said}"
        await asyncio.sleep(0.1)
    raise AssertionError(f"{sale.path}: still {said}")


def _with_payment(sale: Sale) -> dict[str, Any]:
    return {**sale.request, "headers": {**sale.request.get("headers", {}), **sale.payment}}


async def quiet(stack: Stack) -> None:
    """Wait until all payments have come to an end, and nothing is left to be taken back."""
    busy = (
        "SELECT (SELECT count(*) FROM payments WHERE state NOT IN ('settled', 'voided', 'rejected'))"
        " + (SELECT count(*) FROM jobs WHERE undo_due IS NOT NULL)"
    )
    await until(lambda: rows(stack, "broker", busy) == [(0,)], "the ledger comes to rest")


async def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + QUIET_S
    while not true():
        assert time.monotonic() < deadline, f"in vain: {what}"
        await asyncio.sleep(0.05)


def rows(stack: Stack, database: str, statement: str) -> list[Any]:
    """What a service's books answer; a change is kept."""
    with closing(sqlite3.connect(stack.home / f"{database}.sqlite", timeout=20)) as books, books:
        return books.execute(statement).fetchall()


def check_money(stack: Stack, wallets: list[Wallet], sales: list[Sale]) -> dict[tuple[str, str], Booked]:
    """Chain and ledger agree to the unit, and whoever got an answer paid for it. Returns the ledger."""
    query = "SELECT payer, nonce, state, job_id, amount_atomic FROM payments"
    ledger = {(payer, nonce): Booked(*rest) for payer, nonce, *rest in rows(stack, "broker", query)}
    settled = [booked for booked in ledger.values() if booked.state == "settled"]
    spent = sum(booked.amount_atomic for booked in settled)
    assert stack.balance(HOST_WALLET) == spent
    assert sum(stack.balance(wallet.address) for wallet in wallets) == len(wallets) * FUNDS - spent
    assert ledger.keys() <= {sale.authorization for sale in sales}
    for sale in sales:
        if sale.answer is not None and sale.answer.status_code == 200:
            booked = ledger[sale.authorization]
            assert (booked.state, booked.job_id) == ("settled", sale.answer.json()["jobId"])
    return ledger
