"""A result whose time is over: its payment is told so, with the receipt, and nothing is done or charged."""

import time
from pathlib import Path

import httpx
import pytest

from broker.payments.results import Results
from broker.payments.retention import EXPIRED, Retention
from shared.database import Database
from tests.attacks.test_declared_answers import Document
from tests.broker.a2a.agent import Agent, payment_for, payment_submitted
from tests.flows.test_paid_run import challenge_of
from tests.openapi.documents import app_of
from tests.support.services import Stack
from tests.support.wallets import Wallet, receipt_of

DAY_S = 86_400


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    home: Path = tmp_path_factory.mktemp("document")
    return Document(app_of("broker", home).openapi())


async def let_all_expire(stack: Stack) -> None:
    """As a broker with RESULTS_KEEP_DAYS=1 would two days later."""
    database = Database(f"sqlite:///{stack.home / 'broker.sqlite'}")
    try:
        await Retention(database, Results(stack.home / "results"), lambda: time.time() + 2 * DAY_S, 1).sweep()
    finally:
        await database.close()


@pytest.mark.parametrize("version", [1, 2])
async def test_it_is_410_with_the_receipt_and_the_job_says_what_became_of_it(
    stack: Stack, http: httpx.Client, wallet: Wallet, document: Document, version: int
) -> None:
    body: dict[str, object] = {"code": f"print('x' * 200_000, {version})", "size": "small"}
    challenge = challenge_of(http, body)
    headers = wallet.pay_v1(challenge) if version == 1 else wallet.pay_v2(challenge)
    sold = http.post("/run", json=body, headers=headers)
    assert sold.status_code == 200, sold.text
    left = stack.balance(wallet.address)
    await let_all_expire(stack)
    again = http.post("/run", json=body, headers=headers)
    told = again.json()
    assert (again.status_code, told["code"], told["jobId"]) == (410, "result_expired", sold.json()["jobId"])
    assert EXPIRED in told["error"]
    assert receipt_of(again) == receipt_of(sold)
    document.check(again, "/run")
    assert stack.balance(wallet.address) == left
    job = http.get(f"/status/{told['jobId']}").json()
    assert (job["status"], job["result"], job["error"]) == ("completed", None, EXPIRED)
    assert job["payment"]["state"] == "settled"
    assert challenge_of(http, body).status_code == 402, "it can be bought anew"


async def test_an_agent_is_told_so_in_a_message_with_the_receipt(
    stack: Stack, http: httpx.Client, wallet: Wallet, document: Document
) -> None:
    required = Agent(http).ask({"taskType": "run", "code": "print('once')"})
    message = payment_submitted(required["meta"]["jobId"], payment_for(required, wallet, 2))
    done = http.post("/a2a/message", json=message)
    assert done.status_code == 200, done.text
    await let_all_expire(stack)
    again = http.post("/a2a/message", json=message)
    told = again.json()
    assert (again.status_code, told["type"], told["code"]) == (410, "task_failed", "result_expired")
    assert told["meta"]["receipt"] == done.json()["meta"]["receipt"]
    document.check(again, "/a2a/message")
