"""The operator's page in a real Chromium, over the real stack: paid work appears, a refund is paid."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account import Account
from web3 import HTTPProvider, Web3

from tests.flows.test_browser import contrast
from tests.flows.test_payments_api import BODY, OPERATOR
from tests.support.browser import CHROMIUM, REASON, Tab, open_tab
from tests.support.services import Process, Stack
from tests.support.wallets import Wallet, funded_wallet, receipt_of

TOKEN = {"Authorization": f"Bearer {OPERATOR}"}
MARKUP = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=REASON)
SCREENSHOT = Path(__file__).parents[2] / "docs" / "dashboard.png"


@pytest.fixture(scope="module")
def broker(stack: Stack) -> Iterator[Process]:
    """A broker with an operator, on the stack's ledger."""
    process = stack.launch("broker", "dashboard", OPERATOR_TOKEN=OPERATOR).wait_ready()
    yield process
    process.stop()


@pytest.fixture
def door(broker: Process) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=broker.url, timeout=60, trust_env=False, verify=False) as client:
        yield client


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    with open_tab(tmp_path / "profile") as tab:
        tab.resize(1280, 900)
        yield tab


def pay(door: httpx.Client, wallet: Wallet, body: dict[str, Any], **headers: str) -> httpx.Response:
    challenge = door.post("/run", json=body, headers=headers)
    paid = door.post("/run", json=body, headers={**headers, **wallet.pay_v2(challenge)})
    assert paid.status_code == 200, paid.text
    return paid


def owe(stack: Stack, job_id: str, reason: str) -> str:
    """Have the ledger owe the money of a paid job back, as it does for work that was paid ahead and failed."""
    with closing(sqlite3.connect(stack.home / "broker.sqlite", timeout=30)) as ledger, ledger:
        ledger.execute(
            "INSERT INTO refunds SELECT id, job_id, payer, amount_atomic, 'owed', ?, NULL, ?, ?"
            " FROM payments WHERE job_id = ?",
            (reason, int(time.time() * 1000), int(time.time() * 1000), job_id),
        )
        [(payment_id,)] = ledger.execute("SELECT id FROM payments WHERE job_id = ?", (job_id,)).fetchall()
    return str(payment_id)


def enter(tab: Tab, url: str) -> None:
    """As a person does: type the token, press Enter."""
    tab.go(f"{url}/dashboard")
    tab.until("document.activeElement.id === 'token'")
    tab.type(OPERATOR)
    tab.press_enter()
    tab.until("document.querySelector('#link').innerText.includes('live')")


def transfer(stack: Stack, sender: Wallet, to: str, atomic: int) -> str:
    """Send devnet dollars; the hash of the mined transaction."""
    chain = Web3(HTTPProvider(f"{stack.devnet}/rpc"))
    abi = [
        {
            "type": "function",
            "name": "transfer",
            "stateMutability": "nonpayable",
            "inputs": [{"type": "address", "name": "to"}, {"type": "uint256", "name": "value"}],
            "outputs": [{"type": "bool", "name": ""}],
        }
    ]
    token = chain.eth.contract(
        address=Web3.to_checksum_address("0x036CbD53842c5426634e7929541eC2318f3dCF7e"), abi=abi
    )
    call = token.functions.transfer(Web3.to_checksum_address(to), atomic).build_transaction(
        {"from": sender.account.address, "nonce": chain.eth.get_transaction_count(sender.account.address)}
    )
    sent = chain.eth.send_raw_transaction(Account.sign_transaction(call, sender.key).raw_transaction)
    assert chain.eth.wait_for_transaction_receipt(sent)["status"] == 1
    return "0x" + bytes(sent).hex()


@needs_chromium
def test_the_operator_signs_in_sees_a_paid_run_appear_and_pays_a_refund(
    stack: Stack, broker: Process, door: httpx.Client, wallet: Wallet, tab: Tab
) -> None:
    enter(tab, broker.url)
    assert "token" not in tab.value("location.href")
    assert tab.value("document.querySelector('#token').value") == ""
    paid = pay(door, wallet, BODY)
    short = f"{paid.json()['jobId'][:8]}…"
    row = f"[...document.querySelectorAll('#jobs tr')].find((row) => row.innerText.includes('{short}'))"
    tab.until(f"{row}?.innerText.includes('settled')")
    assert paid.json()["price_usd"] in tab.value(f"{row}.innerText")

    payment_id = owe(stack, paid.json()["jobId"], "provider_failed")
    form = f"document.querySelector('#owed tr[data-key=\"{payment_id}\"] form')"
    tab.until(f"!!{form}")
    line = tab.value(f"{form}.closest('tr').innerText")
    assert wallet.address in line
    assert "provider_failed" in line

    def mark(transaction: str) -> str:
        tab.value(f"{form}.querySelector('input').value = ''; {form}.querySelector('input').focus()")
        tab.value("document.querySelector('#refund-said').textContent = ''")
        tab.type(transaction)
        time.sleep(1.5)  # beats come meanwhile, and must not take away what is being typed
        assert tab.value(f"{form}.querySelector('input') === document.activeElement")
        tab.press_enter()
        return str(tab.until("document.querySelector('#refund-said').textContent"))

    price = int(receipt_price(door, payment_id))
    assert "no such transaction" in mark("0x" + "ab" * 32)
    # The payer's own payment to the host moved nothing to the payer.
    assert "did not move" in mark(receipt_of(paid)["transaction"])
    operator = funded_wallet(stack.devnet)
    assert "did not move" in mark(transfer(stack, operator, wallet.address, price - 1))
    sent = transfer(stack, operator, wallet.address, price)
    assert "the chain confirms it" in mark(sent)
    tab.until(f"!{form}")
    refund = door.get(f"/payments/{payment_id}", headers=TOKEN).json()["refund"]
    assert (refund["state"], refund["transaction"]) == ("paid", sent)
    assert tab.complaints == [
        "Failed to load resource: the server responded with a status of 401 (Unauthorized)",
        *["Failed to load resource: the server responded with a status of 422 (Unprocessable Content)"] * 3,
    ]


def receipt_price(door: httpx.Client, payment_id: str) -> str:
    return str(door.get(f"/payments/{payment_id}", headers=TOKEN).json()["refund"]["amountAtomic"])
