"""When the work cannot be done for reasons of ours, nothing is charged and the payment stays usable."""

import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from executor.sandbox.program import find_bwrap, reachable
from executor.sandbox.runtimes import Identity
from tests.support.index import PackageIndex, wheel
from tests.support.services import Stack, running_stack
from tests.support.wallets import Wallet, funded_wallet, receipt_of

BODY = {"code": "print('after all')"}
UNHURRIED: Any = {"timeout": 60, "trust_env": False, "verify": False}
BELIEVED_S = 1.0
"""So long quote believes what the executor said of itself."""


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose parts the tests take away and bring back."""
    with running_stack(tmp_path_factory.mktemp("fragile")) as running:
        yield running


@pytest.fixture
def payer(fragile: Stack) -> Wallet:
    return funded_wallet(fragile.devnet)


def post(stack: Stack, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.post(
        stack.broker + "/run", json=BODY, headers=headers, timeout=60, trust_env=False, verify=False
    )


def start_executor(stack: Stack, **settings: str) -> None:
    """Until its work is sold.

    Whoever asked while it started was told that it did not answer, and that is believed for a moment.
    """
    stack.launch("executor", **settings).wait_ready()
    _answer(stack, 402, within_s=BELIEVED_S + 20)


def test_an_executor_that_is_gone_costs_nothing_and_the_same_payment_works_later(
    fragile: Stack, payer: Wallet
) -> None:
    headers = payer.pay_v2(post(fragile))
    before = fragile.balance(payer.address)
    fragile.processes["executor"].kill()
    refused = post(fragile, headers)
    assert refused.status_code == 503
    assert refused.json()["code"] == "executor_unavailable"
    assert "Retry-After" in refused.headers
    assert fragile.balance(payer.address) == before
    start_executor(fragile)
    done = post(fragile, headers)
    assert done.status_code == 200, done.text
    assert done.json()["result"]["stdout"] == "after all\n"
    assert receipt_of(done)["success"] is True
    assert fragile.balance(payer.address) < before


def test_a_sandbox_that_breaks_costs_nothing(fragile: Stack, payer: Wallet) -> None:
    """bubblewrap works when the executor starts, and fails once the payment has been taken in."""
    found = find_bwrap()
    assert found is not None
    bwrap = reachable(found, Identity(65534, 65534, dropped=os.getuid() == 0))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        flag, wrapper = Path(folder) / "broken", Path(folder) / "bwrap"
        wrapper.write_text(f'#!/bin/sh\n[ -e {flag} ] && exit 1\nexec {bwrap.path} "$@"\n')
        wrapper.chmod(0o755)
        fragile.processes["executor"].stop()
        start_executor(fragile, EXECUTOR_BWRAP=str(wrapper), EXECUTOR_POOL="0")
        try:
            headers = payer.pay_v2(post(fragile))
            before = fragile.balance(payer.address)
            flag.touch()
            refused = post(fragile, headers)
            assert refused.status_code == 503, refused.text
            job = httpx.get(f"{fragile.broker}/status/{refused.json()['jobId']}", **UNHURRIED).json()
            assert job["status"] == "failed"
            assert fragile.balance(payer.address) == before
            flag.unlink()
            assert post(fragile, headers).status_code == 200
        finally:
            bwrap.remove_copy()
            fragile.processes["executor"].stop()
            start_executor(fragile)


def test_packages_that_cannot_be_had_cost_nothing(fragile: Stack, payer: Wallet) -> None:
    """Neither for ever (400) nor for now (503); for now, the same payment works later."""
    url = fragile.broker + "/run"
    code = "import good; print(good.VERSION)"

    def ask(name: str, headers: dict[str, str] | None = None) -> httpx.Response:
        body = {"code": code, "dependencies": [name]}
        return httpx.post(url, json=body, headers=headers, timeout=60, trust_env=False, verify=False)

    index = PackageIndex()
    index.add("good", wheel("good"))
    fragile.processes["executor"].stop()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        settings = {"EXECUTOR_INDEX_URL": index.url, "EXECUTOR_LAYERS": f"{folder}/layers"}
        start_executor(fragile, **settings)
        try:
            assert ask("good @ http://127.0.0.1/good.whl").json()["code"] == "dependency_invalid"
            before = fragile.balance(payer.address)
            never = ask("unknown", payer.pay_v2(ask("unknown")))
            assert (never.status_code, never.json()["code"]) == (400, "dependency_not_found")
            headers = payer.pay_v2(ask("good"))
            index.broken = True
            later = ask("good", headers)
            assert (later.status_code, later.json()["code"]) == (503, "dependency_index_unavailable")
            assert fragile.balance(payer.address) == before
            index.broken = False
            done = ask("good", headers)
            assert done.json()["result"]["stdout"] == "1.0\n", done.text
            assert done.json()["result"]["dependencies"] == ["good==1.0"]
            rows = httpx.get(fragile.broker + "/runtimes", **UNHURRIED).json()["runtimes"]
            assert [row["name"] for row in rows if row["dependencies"]] == ["python"]
        finally:
            fragile.processes["executor"].stop()
            index.close()
    start_executor(fragile)


def test_a_machine_without_a_sandbox_sells_nothing(fragile: Stack) -> None:
    fragile.processes["executor"].stop()
    fragile.launch("executor", EXECUTOR_BWRAP="/bin/false").wait_ready()
    try:
        response = _answer(fragile, 503, code="sandbox_unavailable", within_s=BELIEVED_S + 20)
        assert response.json()["error"] == "No providers available"
        assert "sandbox" in str(response.json()["providers"]).lower()
    finally:
        fragile.processes["executor"].stop()
        start_executor(fragile)


def _answer(stack: Stack, status: int, *, within_s: float, code: str | None = None) -> httpx.Response:
    """The answer to code that was never asked for before, once it has that status, and that `code`."""
    deadline = time.monotonic() + within_s
    while True:
        body = {"code": f"print({time.monotonic_ns()})"}
        response = httpx.post(stack.broker + "/run", json=body, timeout=60, trust_env=False, verify=False)
        if response.status_code == status and code in {None, response.json().get("code")}:
            return response
        assert time.monotonic() < deadline, response.text
        time.sleep(0.1)


def test_without_quote_nothing_is_sold(fragile: Stack) -> None:
    fragile.processes["quote"].kill()
    try:
        response = httpx.post(
            fragile.broker + "/run",
            json={"code": "print('never priced')"},
            timeout=60,
            trust_env=False,
            verify=False,
        )
        assert response.status_code == 503
        assert response.json()["code"] == "quote_unavailable"
    finally:
        fragile.launch("quote").wait_ready()


def test_a_facilitator_that_is_gone_before_the_run_means_no_run_and_no_charge(
    fragile: Stack, payer: Wallet
) -> None:
    headers = payer.pay_v1(post(fragile))
    before = fragile.balance(payer.address)
    fragile.processes["devnet"].kill()
    refused = post(fragile, headers)
    assert refused.status_code == 503
    assert refused.json()["code"] == "facilitator_unavailable"
    fragile.launch("devnet").wait_ready()
    assert fragile.balance(payer.address) == before
    assert post(fragile, headers).status_code == 200


def test_money_that_left_the_wallet_during_the_run_withholds_the_result(
    fragile: Stack, payer: Wallet
) -> None:
    slow = {"code": "import time; time.sleep(6); print('secret', time.time())"}
    url = fragile.broker + "/run"
    challenge = httpx.post(url, json=slow, timeout=60, trust_env=False, verify=False)
    headers = payer.pay_v2(challenge)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(httpx.post, url, json=slow, headers=headers, timeout=60)
        _empty(fragile, payer)
        answer = running.result()
    assert answer.status_code == 402
    assert "secret" not in answer.text
    assert receipt_of(answer)["success"] is False
    assert fragile.balance(payer.address) == 0
    httpx.post(
        f"{fragile.devnet}/faucet",
        json={"address": payer.address},
        timeout=60,
        trust_env=False,
        verify=False,
    )
    again_s = time.time()
    released = httpx.post(
        url, json=slow, headers=payer.pay_v1(answer), timeout=60, trust_env=False, verify=False
    )
    assert released.status_code == 200, released.text
    word, ended_s = released.json()["result"]["stdout"].split()
    assert word == "secret"
    assert float(ended_s) < again_s, "the kept result is released, nothing runs again"


def wait_running(stack: Stack, wallet: Wallet) -> None:
    """Until the work that the wallet pays for has begun: its payment was found good before that."""
    deadline = time.monotonic() + 30
    with closing(sqlite3.connect(stack.home / "broker.sqlite", timeout=30)) as ledger:
        query = "SELECT state FROM payments WHERE payer = ?"
        while ("running",) not in ledger.execute(query, (wallet.address.lower(),)).fetchall():
            assert time.monotonic() < deadline, "nothing runs"
            time.sleep(0.02)


def _empty(stack: Stack, wallet: Wallet) -> None:
    """Move all of the wallet's money away while its run goes on, by a settlement of its own making."""
    wait_running(stack, wallet)
    to = "0x000000000000000000000000000000000000dead"
    asset, value = "0x036CbD53842c5426634e7929541eC2318f3dCF7e", stack.balance(wallet.address)
    extra = {"name": "USDC", "version": "2"}
    requirements = {
        "scheme": "exact",
        "network": "base-sepolia",
        "maxAmountRequired": str(value),
        "resource": "http://127.0.0.1/away",
        "description": "",
        "mimeType": "",
        "payTo": to,
        "maxTimeoutSeconds": 250,
        "asset": asset,
        "extra": extra,
    }
    payload = {
        "x402Version": 1,
        "scheme": "exact",
        "network": "base-sepolia",
        "payload": wallet.payload(asset, to, value, extra),
    }
    body = {"x402Version": 1, "paymentPayload": payload, "paymentRequirements": requirements}
    answer = httpx.post(stack.devnet + "/settle", json=body, timeout=30, trust_env=False, verify=False).json()
    assert answer["success"] is True, answer


def test_a_settlement_with_no_answer_is_pending_and_never_asks_for_money_again(
    fragile: Stack, payer: Wallet
) -> None:
    slow = {"code": "import time; time.sleep(5); print('done')"}
    url = fragile.broker + "/run"
    headers = payer.pay_v2(httpx.post(url, json=slow, timeout=60, trust_env=False, verify=False))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(httpx.post, url, json=slow, headers=headers, timeout=60)
        wait_running(fragile, payer)
        fragile.processes["devnet"].kill()
        answer = running.result()
    assert answer.status_code == 202, answer.text
    location = fragile.broker + answer.headers["Location"]
    job = httpx.get(location, **UNHURRIED).json()
    assert job["payment"]["state"] == "unknown"
    assert job["result"] is None
    again = httpx.post(url, json=slow, headers=headers, timeout=60, trust_env=False, verify=False)
    assert (again.status_code, again.json()["jobId"]) == (202, answer.json()["jobId"])
    fragile.launch("devnet").wait_ready()
    deadline = time.monotonic() + 60
    while (job := httpx.get(location, **UNHURRIED).json())["status"] != "completed":
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
    assert job["payment"]["state"] == "settled"
    done = httpx.post(url, json=slow, headers=headers, timeout=60, trust_env=False, verify=False)
    assert (done.status_code, done.json()["result"]["stdout"]) == (200, "done\n")
    assert receipt_of(done)["transaction"] == job["payment"]["transaction"]
    assert fragile.balance(payer.address) == 100_000_000 - int(job["payment"]["amount_atomic"])
