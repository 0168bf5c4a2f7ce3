"""`galaksio payments` against brokers that cheat: nothing strange is signed, no false receipt passes."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import respx
from eth_account import Account
from rich.console import Console

from cli.config import CliError, Config
from cli.payments import as_table, list_payments
from shared.clock import iso
from shared.receipts import published_key, signable_receipt
from shared.sign_in import SignInMessage

URL = "https://broker.test"
WALLET = Account.create()
KEY = Account.create()
GOOD = SignInMessage(
    domain="broker.test",
    address=str(WALLET.address),
    uri=URL,
    chain_id=84532,
    nonce="0123456789abcdef",
    issued_at="2027-01-15T07:59:59.000Z",
    expiration_time="2027-01-15T08:05:00.000Z",
)
CONFIG = Config(private_key="0x" + bytes(WALLET.key).hex(), address=str(WALLET.address), broker_url=URL)


def receipt(**changes: Any) -> dict[str, Any]:
    plain = {
        "version": 1,
        "broker": URL,
        "network": "eip155:84532",
        "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "payTo": "0x" + "bb" * 20,
        "payer": CONFIG.address,
        "amount": "5800",
        "transaction": "0x" + "12" * 32,
        "requestHash": "ab" * 32,
        "resultHash": "cd" * 32,
        "jobId": "job",
        "settledAt": "2027-01-15T08:00:00.000Z",
        **changes,
    }
    return {**plain, "signature": "0x" + bytes(KEY.sign_message(signable_receipt(plain)).signature).hex()}


def row(**changes: Any) -> dict[str, Any]:
    return {
        "id": "payment",
        "jobId": "job",
        "createdAt": "2027-01-15T08:00:00.000Z",
        "operation": "run",
        "amountAtomic": "5800",
        "amountUsd": "0.0058",
        "state": "settled",
        "payer": CONFIG.address,
        "requestHash": "ab" * 32,
        "transaction": "0x" + "12" * 32,
        "receipt": receipt(),
        "refund": None,
        **changes,
    }


@pytest.fixture
def broker() -> Iterator[respx.MockRouter]:
    """A broker that signs people in and lists what `broker["payments"]` is told to."""
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        now = datetime.now(UTC).timestamp()
        fresh = replace(GOOD, issued_at=iso(now), expiration_time=iso(now + 300)).text()
        key = published_key(str(KEY.address), 84532)
        router.get("/.well-known/x402").respond(json={"receiptKey": key})
        router.post("/auth/nonce", name="nonce").respond(json={"message": fresh, "nonce": GOOD.nonce})
        router.post("/auth/verify", name="verify").respond(json={"token": "secret-token"})
        router.post("/auth/logout", name="logout").respond(204)
        router.get("/payments", name="payments")
        yield router


@pytest.mark.parametrize(
    ("shown", "receipt_is"),
    [
        (row(), "valid"),
        (row(receipt=None), "-"),
        (row(receipt={**receipt(), "amount": "1"}), "WRONG"),
        (row(receipt={}), "WRONG"),
        # Genuine receipts, of something else than the row that they come with.
        (row(receipt=receipt(jobId="another")), "WRONG"),
        (row(receipt=receipt(amount="58000")), "WRONG"),
        (row(receipt=receipt(requestHash="ef" * 32)), "WRONG"),
        (row(receipt=receipt(transaction="0x" + "13" * 32)), "WRONG"),
        (row(receipt=receipt(payer="0x" + "11" * 20)), "WRONG"),
    ],
)
def test_a_receipt_is_valid_only_for_its_own_payment(
    broker: respx.MockRouter, shown: dict[str, Any], receipt_is: str
) -> None:
    broker["payments"].respond(json={"payments": [shown], "nextCursor": None})
    [line] = list_payments(CONFIG, URL, 20)
    assert line.receipt == receipt_is
    assert broker["payments"].calls.last.request.headers["Authorization"] == "Bearer secret-token"
    assert broker["logout"].called


def test_pages_are_followed_up_to_the_limit(broker: respx.MockRouter) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        start = int(request.url.params.get("cursor", "0"))
        wanted = int(request.url.params["limit"])
        rows = [row(operation=f"run {start + n}", receipt=None) for n in range(wanted)]
        return httpx.Response(200, json={"payments": rows, "nextCursor": str(start + wanted)})

    broker["payments"].mock(side_effect=answer)
    lines = list_payments(CONFIG, URL, 250)
    assert [line.operation for line in lines] == [f"run {n}" for n in range(250)]
    assert broker["payments"].call_count == 3


def test_a_broker_that_wants_another_text_signed_gets_no_signature(broker: respx.MockRouter) -> None:
    broker["nonce"].respond(json={"message": "Transfer all my money.", "nonce": GOOD.nonce})
    with pytest.raises(CliError, match="Nothing was signed"):
        list_payments(CONFIG, URL, 20)
    assert not broker["verify"].called


@pytest.mark.parametrize("answer", [[], {}, {"payments": [{}], "nextCursor": None}, {"payments": 7}])
def test_an_answer_that_is_no_list_of_payments_is_one_sentence(broker: respx.MockRouter, answer: Any) -> None:
    broker["payments"].respond(json=answer)
    with pytest.raises(CliError, match="not understood"):
        list_payments(CONFIG, URL, 20)
    assert broker["logout"].called, "the session is ended whatever happens"


def test_what_a_broker_says_cannot_steer_the_terminal(broker: respx.MockRouter) -> None:
    evil = "\x1b[2J[bold red]run[/]\x07\n\r"
    broker["payments"].respond(json={"payments": [row(operation=evil, state=evil)], "nextCursor": None})
    console = Console(width=300, force_terminal=False, record=True)
    with console.capture() as capture:
        console.print(as_table(list_payments(CONFIG, URL, 20)))
    assert "\x1b" not in capture.get()
    assert "\x07" not in capture.get()
    assert "[bold red]run[/]" in capture.get()
