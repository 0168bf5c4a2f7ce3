"""The operator's page over the real stack, in a real Chromium: paid work appears, a refund is paid."""

import json
import re
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account import Account
from web3 import HTTPProvider, Web3
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.flows.test_browser import contrast
from tests.flows.test_payments_api import BODY, OPERATOR, sign_in
from tests.support.browser import CHROMIUM, REASON, Tab, open_tab
from tests.support.relay import relaying
from tests.support.services import Process, Stack
from tests.support.wallets import Wallet, funded_wallet, new_wallet, receipt_of

TOKEN = {"Authorization": f"Bearer {OPERATOR}"}
INTERNAL = {"Authorization": "Bearer test-token"}
MARKUP = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=REASON)


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
    """Have the ledger owe the money of a paid job back, as for work that was paid ahead and failed."""
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
    # Nothing else was complained of: no script failed, and the page's policy held nothing back.
    statuses = [re.findall(r"status of (\d+)", complaint) for complaint in tab.complaints]
    assert statuses == [["401"], ["422"], ["422"], ["422"]], tab.complaints


def receipt_price(door: httpx.Client, payment_id: str) -> str:
    return str(door.get(f"/payments/{payment_id}", headers=TOKEN).json()["refund"]["amountAtomic"])


def test_a_refund_is_marked_as_paid_only_when_the_chain_says_so(
    stack: Stack, door: httpx.Client, wallet: Wallet
) -> None:
    payment_id = owe(stack, pay(door, wallet, {"code": "print('owed')"}).json()["jobId"], "provider_failed")
    price = int(receipt_price(door, payment_id))

    def mark(transaction: str) -> httpx.Response:
        path = f"/api/dashboard/refunds/{payment_id}"
        return door.post(path, json={"transaction": transaction}, headers=TOKEN)

    refused = mark(transfer(stack, wallet, wallet.address, price))
    assert (refused.status_code, refused.json()["code"]) == (422, "refund_not_on_chain"), "only to itself"
    assert mark(transfer(stack, funded_wallet(stack.devnet), new_wallet().address, price)).status_code == 422
    sent = transfer(stack, funded_wallet(stack.devnet), wallet.address, price)
    for _ in range(2):
        done = mark(sent)
        assert (done.status_code, done.json()["verified"], done.json()["warning"]) == (200, True, None)
    assert mark("0x" + "ab" * 32).status_code == 422
    assert door.get(f"/payments/{payment_id}", headers=TOKEN).json()["refund"]["transaction"] == sent


@needs_chromium
def test_each_executor_is_shown_with_its_sandboxes_and_a_wallet_that_it_shares_with_the_host_is_said(
    tmp_path: Path, stack: Stack, tab: Tab
) -> None:
    payer = new_wallet()
    with ExitStack() as opened:
        work = opened.enter_context(relaying())
        executors = []
        for name in ("executor-one", "executor-two"):
            home = str(tmp_path / name)
            executors.append(
                stack.launch(
                    "executor",
                    name,
                    EXECUTOR_PRIVATE_KEY=payer.key,
                    GALAKSIO_HOME=home,
                    X402_WALLET_ADDRESS="",
                )
            )
            opened.callback(executors[-1].stop)
        work.targets = [executor.wait_ready().url for executor in executors]
        settings = {"X402_WALLET_ADDRESS": payer.address, "GALAKSIO_HOME": str(tmp_path / "broker")}
        broker = stack.launch(
            "broker", "of-two", EXECUTOR_SERVICE_URL=work.url, OPERATOR_TOKEN=OPERATOR, **settings
        ).wait_ready()
        opened.callback(broker.stop)
        enter(tab, broker.url)
        tab.until("document.querySelectorAll('#instances tr').length === 2")
        url = f"{work.targets[0]}/providers"
        told = httpx.get(url, headers=INTERNAL, trust_env=False, timeout=60).json()
        row = f"document.querySelector('#instances tr[data-key=\"{told['instance']}\"]').innerText"
        tab.until(f"{row}.includes('python 1')")
        assert socket.gethostname() in tab.value(row)
        assert "accepted" in tab.value(row)
        assert tab.value("document.querySelectorAll('#executors tr').length") == 2 * len(told["providers"])
        tab.until(
            "document.querySelector('#trouble').innerText.includes('pays others from X402_WALLET_ADDRESS')"
        )
        # One that is gone is there until it was not seen for a while, and says so.
        executors[0].stop()
        work.targets = [executors[1].url]
        tab.until(f"parseInt({row}.match(/(\\d+) s ago/)[1]) >= 3")
        assert broker.output().count('"wallet_shared"') == 1
    assert "Traceback" not in broker.output()


@needs_chromium
def test_what_customers_and_providers_write_is_text_on_the_page(
    stack: Stack, broker: Process, door: httpx.Client, wallet: Wallet, tab: Tab
) -> None:
    paid = pay(door, wallet, {"code": "print('markup')"})
    with closing(sqlite3.connect(stack.home / "broker.sqlite", timeout=30)) as ledger, ledger:
        ledger.execute(
            "UPDATE jobs SET provider = ?, label = ?, error = ?, operation = ? WHERE id = ?",
            (*[f"{MARKUP}{part}" for part in ("provider", "label", "error", "op")], paid.json()["jobId"]),
        )
    owe(stack, paid.json()["jobId"], MARKUP)
    enter(tab, broker.url)
    for part in ("provider", "label", "error", "op"):
        tab.until(f"document.querySelector('#jobs').innerText.includes({json.dumps(MARKUP + part)})")
    tab.until(f"document.querySelector('#owed').innerText.includes({json.dumps(MARKUP)})")
    assert tab.value("document.querySelectorAll('main img, main script').length") == 0
    assert tab.value("document.title") == "Galaksio: operator"
    # Were it put in as HTML one day, the page's own policy would refuse it.
    refused = tab.value(
        f"(() => {{ try {{ document.querySelector('#door').innerHTML = {json.dumps(MARKUP)} }}"
        " catch (error) { return error.name } })()"
    )
    assert refused == "TypeError"


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_can_be_read(
    broker: Process, door: httpx.Client, wallet: Wallet, tab: Tab, scheme: str
) -> None:
    pay(door, wallet, {"code": f"print('{scheme}')"})
    tab.prefer(scheme)
    for width in (1280, 360, 320):
        tab.resize(width, 800)
        if width == 1280:
            enter(tab, broker.url)
        # The plots are drawn anew a moment after the page has become narrower.
        tab.until(f"innerWidth === {width}")
        tab.until("document.documentElement.scrollWidth === document.documentElement.clientWidth")
        outside = "[...document.querySelectorAll('main section, main canvas, dl > div')].filter("
        tab.until(f"{outside} (e) => e.getBoundingClientRect().right > {width}).length === 0")
    paper = tab.value("getComputedStyle(document.querySelector('section')).backgroundColor")
    for element, least in (("td", 12), ("th", 4.5), (".good", 4.5), ("figcaption", 12), (".u-legend", 4.5)):
        ink = tab.value(f"getComputedStyle(document.querySelector('{element}')).color")
        assert contrast(ink, paper) >= least, element
    unnamed = "[...document.querySelectorAll('input, button')].filter((e) => !(e.labels?.length"
    assert tab.value(f"{unnamed} || e.getAttribute('aria-label') || e.textContent.trim())).length") == 0
    assert tab.value("document.querySelectorAll('#plots-title ~ .plots canvas').length") == 4


@needs_chromium
def test_the_tab_stays_signed_in_until_it_signs_out_and_comes_back_after_a_restart(
    stack: Stack, tab: Tab
) -> None:
    broker = stack.launch("broker", "restarted", OPERATOR_TOKEN=OPERATOR).wait_ready()
    try:
        enter(tab, broker.url)
        broker.stop()
        tab.until("document.querySelector('#link').innerText.includes('connecting again')")
        broker = stack.launch("broker", "restarted", OPERATOR_TOKEN=OPERATOR).wait_ready()
        tab.until("document.querySelector('#link').innerText.includes('live')")
        tab.value("window.before = true")
        tab.send("Page.reload")
        tab.until("!window.before && document.querySelector('#link')?.innerText.includes('live')")
        assert tab.value("localStorage.length") == 0
        tab.value("document.querySelector('#leave').click()")
        assert tab.value("sessionStorage.length") == 0
        assert tab.value("document.querySelector('#page').hidden")
        tab.type("a-token-that-is-not-it")
        tab.press_enter()
        tab.until("document.querySelector('#why').innerText.includes('not the OPERATOR_TOKEN')")
    finally:
        broker.stop()


@needs_chromium
def test_a_broker_without_an_operator_says_so_on_the_page(stack: Stack, tab: Tab) -> None:
    tab.go(f"{stack.broker}/dashboard")
    tab.until("document.querySelector('#why').innerText.includes('set OPERATOR_TOKEN')")


def events(stream: httpx.Response) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in stream.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_a_listener_is_told_each_second_and_of_each_job(door: httpx.Client, wallet: Wallet) -> None:
    with door.stream("GET", "/api/dashboard/events", headers=TOKEN) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.headers["Cache-Control"] == "no-store"
        told = events(stream)
        name, first = next(told)
        paid = pay(door, wallet, {"code": "print('told')"}).json()
        seen: list[str] = []
        beats = [first["at"]]
        while "completed" not in seen:
            name, data = next(told)
            if name == "stats":
                beats.append(data["at"])
            elif data["id"] == paid["jobId"]:
                seen.append(data["status"])
                assert data["priceUsd"] == paid["price_usd"]
        assert len(set(beats)) == len(beats)
        assert len(beats) < 30
    deadline = time.monotonic() + 20
    while True:
        after = door.get("/api/dashboard/stats", headers=TOKEN).json()
        # One that takes long to answer once, as on a busy machine, is asked again.
        if all(row["reachable"] for row in after["neighbours"]) or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert {row["name"] for row in after["neighbours"] if row["reachable"]} == {"quote", "executor"}
    assert {row["version"] for row in after["neighbours"]} == {after["host"]["version"]}
    [local] = [row for row in after["executors"] if (row["kind"], row["name"]) == ("compute", "local")]
    assert local["slots"] >= local["slotsFree"] >= 1
    [instance] = after["instances"]
    assert instance["id"] == local["executor"]
    assert (instance["machine"], instance["slots"]) == (socket.gethostname(), local["slots"])
    assert after["slots"]["at"]
    assert ("compute", "local") in {(row["kind"], row["name"]) for row in after["providers"]}


def test_the_numbers_are_those_of_the_ledger_to_the_unit(
    stack: Stack, door: httpx.Client, wallet: Wallet
) -> None:
    paid = pay(door, wallet, {"code": "print('counted')"}).json()
    deadline = time.monotonic() + 20
    while True:  # for numbers that are younger than the payment
        stats = door.get("/api/dashboard/stats", headers=TOKEN).json()
        if (paid["jobId"], "settled") in {(job["id"], job["paymentState"]) for job in stats["jobs"]}:
            break
        assert time.monotonic() < deadline, stats["jobs"][:3]
        time.sleep(0.1)
    with closing(sqlite3.connect(stack.home / "broker.sqlite", timeout=30)) as ledger:
        settled = "SELECT count(*), sum(amount_atomic) FROM payments WHERE state = 'settled'"
        [(count, atomic)] = ledger.execute(settled).fetchall()
        states = dict(ledger.execute("SELECT state, count(*) FROM payments GROUP BY state").fetchall())
        newest = [row[0] for row in ledger.execute("SELECT id FROM jobs ORDER BY created_at DESC LIMIT 50")]
    assert (stats["revenue"]["all"]["count"], int(stats["revenue"]["all"]["amountAtomic"])) == (count, atomic)
    assert sum(int(line["all"]["amountAtomic"]) for line in stats["revenue"]["lines"]) == atomic
    assert stats["payments"]["states"] == states
    assert [job["id"] for job in stats["jobs"]] == newest


@pytest.mark.parametrize("path", ["/api/dashboard/stats", "/api/dashboard/events"])
def test_nobody_but_the_operator_is_told_anything(
    http: httpx.Client, door: httpx.Client, wallet: Wallet, path: str
) -> None:
    for headers in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": f"Bearer {OPERATOR[:-1]}"}):
        refused = door.get(path, headers=headers, params={"token": OPERATOR})
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    session = sign_in(door, wallet)
    refused = door.get(path, headers=session)
    assert (refused.status_code, refused.json()["code"]) == (403, "operator_only")
    nobody = http.get(path, headers=TOKEN)
    assert (nobody.status_code, nobody.json()["code"]) == (503, "operator_token_missing")
    assert "OPERATOR_TOKEN" in nobody.json()["error"]


def test_the_socket_tells_the_same_numbers_and_closes_on_everybody_else(
    stack: Stack, broker: Process, door: httpx.Client
) -> None:
    address = broker.url.replace("http", "ws") + "/ws/metrics"
    with connect(address, additional_headers=TOKEN, proxy=None) as socket:
        beats = [json.loads(socket.recv(20)) for _ in range(3)]
    assert len({beat["at"] for beat in beats}) == 3
    assert beats[0].keys() == door.get("/api/dashboard/stats", headers=TOKEN).json().keys()
    with connect(address, proxy=None) as socket:
        socket.send(json.dumps({"token": OPERATOR}))
        assert json.loads(socket.recv(20))["revenue"] == beats[2]["revenue"]
    for message in ('{"token": "wrong"}', "{}", "[]", '"', "[" * 3000, "x" * 10_000, b"\x00"):
        with connect(f"{address}?token={OPERATOR}", proxy=None) as socket:
            socket.send(message)
            assert closed_with(socket) == 1008, message
    with connect(address, additional_headers={"Authorization": "Bearer wrong"}, proxy=None) as socket:
        assert closed_with(socket) == 1008
    nobodys = stack.broker.replace("http", "ws") + "/ws/metrics"
    with connect(nobodys, additional_headers=TOKEN, proxy=None) as socket:
        assert closed_with(socket) == 1008
        assert socket.protocol.close_reason is not None
        assert "OPERATOR_TOKEN" in socket.protocol.close_reason


def closed_with(socket: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(20)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def test_of_a_hundred_listeners_fifty_are_served_and_places_become_free_again(door: httpx.Client) -> None:
    with ExitStack() as stack:
        asked = [
            stack.enter_context(door.stream("GET", "/api/dashboard/events", headers=TOKEN))
            for _ in range(100)
        ]
        assert [answer.status_code for answer in asked] == [200] * 50 + [503] * 50
        told = [next(events(answer)) for answer in asked[:50]]
        assert {name for name, _ in told} == {"stats"}
        refused = asked[-1]
        assert json.loads(refused.read())["code"] == "too_many_listeners"
        assert int(refused.headers["Retry-After"]) > 0
    deadline = time.monotonic() + 30
    while True:
        with door.stream("GET", "/api/dashboard/events", headers=TOKEN) as again:
            if again.status_code == 200:
                assert next(events(again))[0] == "stats"
                return
        assert time.monotonic() < deadline, "nobody's place became free"
        time.sleep(0.1)


def test_open_pages_do_not_keep_a_broker_from_stopping(stack: Stack) -> None:
    process = stack.launch("broker", "stopped", OPERATOR_TOKEN=OPERATOR).wait_ready()
    address = process.url.replace("http", "ws") + "/ws/metrics"
    with (
        httpx.stream(
            "GET", f"{process.url}/api/dashboard/events", headers=TOKEN, trust_env=False, timeout=60
        ) as stream,
        connect(address, additional_headers=TOKEN, proxy=None) as socket,
    ):
        told = events(stream)
        next(told)
        socket.recv(20)
        begun = time.monotonic()
        process.stop()
        assert time.monotonic() - begun < 25, "it waited for the pages until its patience was over"
    assert "Traceback" not in process.output()
    assert '"error"' not in process.output()
