"""Agents that ask and pay by messages, over the real stack: the same gate, the same money."""

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from x402 import x402Client
from x402.mechanisms.evm.exact.register import register_exact_evm_client
from x402.schemas import PaymentRequired

from tests.broker.a2a.agent import Agent, payment_for, payment_submitted, price_of, spelled, task_request
from tests.flows.test_one_run_per_authorization import ledger_rows
from tests.support.services import HOST_WALLET, Stack, running_stack
from tests.support.wallets import Wallet, funded_wallet, new_wallet, receipt_of

RANDOM = {"taskType": "run", "code": "import os; print(os.urandom(16).hex())"}
PARALLEL = 50


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Stack]:
    """Two brokers that sell caches too, on a real Valkey; a payment left by a killed one is soon taken up."""
    home = tmp_path_factory.mktemp("agents")
    with running_stack(home, brokers=2, REDIS_URL=valkey_url, LEDGER_LEASE_S="4") as running:
        yield running


@pytest.fixture
def agent(http: httpx.Client) -> Agent:
    return Agent(http)


SOLD: list[tuple[dict[str, Any], str, Any]] = [
    ({"taskType": "run", "code": "print(6 * 7)"}, "stdout", "42\n"),
    ({"task": {"operation": "store", "data": "from an agent", "options": {"ttl": 60}}}, "size", 13),
    ({"operation": "cache", "region": "eu-west-1"}, "region", "eu-west-1"),
]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("sold", SOLD)
def test_an_agent_pays_by_message_and_gets_what_the_route_gives(
    stack: Stack,
    wallet: Wallet,
    agent: Agent,
    sold: tuple[dict[str, Any], str, Any],
    version: int,
) -> None:
    payload, name, value = sold
    before, host_before = stack.balance(wallet.address), stack.balance(HOST_WALLET)
    required = agent.ask(payload)
    waiting = agent.http.get(f"/status/{required['meta']['jobId']}").json()
    assert (waiting["status"], waiting["jobId"], waiting["result"]) == ("payment_required", None, None)
    status, done = agent.pay(required, payment_for(required, wallet, version))
    assert (status, done["type"], done["agent_id"]) == (200, "task_completed", "galaksio-broker"), done
    assert done["payload"]["status"] == "completed"
    assert done["payload"]["result"][name] == value
    receipt = done["meta"]["receipt"]
    assert (receipt["success"], receipt["payer"].lower()) == (True, wallet.address.lower())
    assert receipt["network"] == ("base-sepolia" if version == 1 else "eip155:84532")
    spent = before - stack.balance(wallet.address)
    assert spent == stack.balance(HOST_WALLET) - host_before == price_of(required)
    assert done["meta"]["jobId"] == required["meta"]["jobId"] != done["payload"]["jobId"]


async def test_the_packages_own_client_signs_what_a_message_asks_for(
    stack: Stack, wallet: Wallet, agent: Agent
) -> None:
    required = await asyncio.to_thread(agent.ask, RANDOM)
    payer = x402Client()
    register_exact_evm_client(payer, wallet.account)
    wanted = PaymentRequired.model_validate_json(base64.b64decode(required["meta"]["paymentRequired"]))
    payment = await payer.create_payment_payload(wanted)
    sent = payment.model_dump(by_alias=True, exclude_none=True)
    status, done = await asyncio.to_thread(agent.pay, required, sent)
    assert (status, done["type"]) == (200, "task_completed"), done


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("spelling", ["object", "json", "base64"])
@pytest.mark.parametrize("name", ["payment", "xPayment", "paymentSignature", "x402.payment.payload"])
def test_a_payment_may_stand_under_each_of_its_names_in_each_spelling(
    http: httpx.Client, wallet: Wallet, version: int, spelling: str, name: str
) -> None:
    agent = Agent(http)
    required = agent.ask({"data": "small", "taskType": "storage", "options": {"ttl": 1}})
    payment = spelled(payment_for(required, wallet, version), spelling)
    status, done = agent.pay(required, payment, name)
    assert (status, done["type"]) == (200, "task_completed"), done


@pytest.mark.parametrize("version", [1, 2])
def test_the_same_payment_again_gives_the_same_result_and_receipt(
    stack: Stack, wallet: Wallet, agent: Agent, version: int
) -> None:
    required = agent.ask(RANDOM)
    payment = payment_for(required, wallet, version)
    _, first = agent.pay(required, payment)
    balance = stack.balance(wallet.address)
    status, again = agent.pay(required, payment)
    assert (status, again) == (200, first)
    assert stack.balance(wallet.address) == balance


def test_the_status_of_a_task_becomes_that_of_its_job_under_all_names(wallet: Wallet, agent: Agent) -> None:
    required = agent.ask(RANDOM)
    task_id = required["meta"]["jobId"]
    _, done = agent.pay(required, payment_for(required, wallet, 2))
    job_id = done["payload"]["jobId"]
    job = agent.http.get(f"/status/{job_id}").json()
    assert (job["id"], job["jobId"]) == (job_id, job_id)
    for name in ("status", "job", "jobs"):
        shown = agent.http.get(f"/{name}/{task_id}").json()
        assert shown == {**job, "id": task_id}
        assert shown["result"] == done["payload"]["result"]
    assert required["meta"]["statusUrl"] == str(agent.http.base_url.join(f"/status/{task_id}"))


@pytest.mark.parametrize("version", [1, 2])
async def test_fifty_messages_with_one_authorization_run_once(
    stack: Stack, wallet: Wallet, agent: Agent, version: int
) -> None:
    required = await asyncio.to_thread(agent.ask, {**RANDOM, "timeout": 20 + version})
    message = payment_submitted(required["meta"]["jobId"], payment_for(required, wallet, version))
    before = stack.balance(wallet.address)
    limits = httpx.Limits(max_connections=PARALLEL)
    doors = [stack.broker + "/a2a/message", stack.url("broker2") + "/a2a/message"]
    async with httpx.AsyncClient(timeout=90, trust_env=False, verify=False, limits=limits) as client:
        answers = await asyncio.gather(
            *(client.post(doors[number % 2], json=message) for number in range(PARALLEL))
        )
    assert {answer.status_code for answer in answers} == {200}, [a.text for a in answers][:3]
    assert len({answer.json()["payload"]["result"]["stdout"] for answer in answers}) == 1
    assert len({answer.json()["meta"]["receipt"]["transaction"] for answer in answers}) == 1
    assert before - stack.balance(wallet.address) == price_of(required)
    assert await ledger_rows(stack, wallet) == [("settled", 1)]


async def test_an_impatient_agent_that_signs_anew_does_not_buy_twice(
    stack: Stack, wallet: Wallet, agent: Agent
) -> None:
    """Fifty authorizations for one task at once: one of them pays, and later ones are refused as well."""
    required = await asyncio.to_thread(agent.ask, {"code": "import time; time.sleep(0.5); print('once')"})
    before = stack.balance(wallet.address)
    payments = [payment_for(required, wallet, 1 + number % 2) for number in range(PARALLEL)]
    with ThreadPoolExecutor(PARALLEL) as threads:
        answers = await asyncio.to_thread(
            lambda: list(threads.map(lambda payment: agent.pay(required, payment), payments))
        )
    assert sorted(status for status, _ in answers) == [200] + [409] * (PARALLEL - 1), answers[:3]
    codes = {answer["code"] for status, answer in answers if status == 409}
    assert codes <= {"task_being_paid", "task_already_paid"}
    status, late = agent.pay(required, payment_for(required, wallet, 2))
    assert (status, late["type"], late["code"]) == (409, "task_failed", "task_already_paid")
    assert "receipt" not in late["meta"]
    assert before - stack.balance(wallet.address) == price_of(required)
    assert await ledger_rows(stack, wallet) == [("settled", 1)]


def test_a_wallet_without_money_is_asked_again_and_another_may_pay(
    stack: Stack, wallet: Wallet, agent: Agent
) -> None:
    required = agent.ask(RANDOM)
    status, refused = agent.pay(required, payment_for(required, new_wallet(), 2))
    assert (status, refused["type"]) == (200, "payment_required"), refused
    assert "insufficient" in refused["payload"]["code"]
    assert refused["meta"]["jobId"] == required["meta"]["jobId"]
    assert agent.http.get(f"/status/{required['meta']['jobId']}").json()["status"] == "payment_required"
    status, done = agent.pay(refused, payment_for(refused, wallet, 1))
    assert (status, done["type"]) == (200, "task_completed"), done


def test_too_small_a_payment_buys_nothing(stack: Stack, wallet: Wallet, agent: Agent) -> None:
    before = stack.balance(wallet.address)
    required = agent.ask(RANDOM)
    status, refused = agent.pay(required, payment_for(required, wallet, 1, value="1"))
    assert (status, refused["type"], refused["payload"]["code"]) == (200, "payment_required", "offer_expired")
    assert stack.balance(wallet.address) == before


def test_a_payment_for_another_task_is_refused(stack: Stack, wallet: Wallet, agent: Agent) -> None:
    cheap, dear = agent.ask({**RANDOM, "timeout": 1}), agent.ask({**RANDOM, "size": "large"})
    assert price_of(cheap) < price_of(dear)
    before = stack.balance(wallet.address)
    for version in (1, 2):
        status, refused = agent.pay(dear, payment_for(cheap, wallet, version))
        assert (status, refused["type"]) == (200, "payment_required")
    assert stack.balance(wallet.address) == before
    payment = payment_for(cheap, wallet, 2)
    _, done = agent.pay(cheap, payment)
    status, used = agent.pay(dear, payment)
    assert (status, used["type"], used["code"]) == (409, "task_failed", "authorization_used")
    # The task that it did not pay for is nobody's job, and still to be had.
    assert agent.http.get(f"/status/{dear['meta']['jobId']}").json()["status"] == "payment_required"
    assert done["payload"]["result"]["stdout"] not in json.dumps(used)
    status, done = agent.pay(dear, payment_for(dear, wallet, 2))
    assert (status, done["type"]) == (200, "task_completed")


def test_a_strangers_task_costs_the_stranger_and_shows_nothing_that_was_paid_by_another(
    stack: Stack, wallet: Wallet, agent: Agent
) -> None:
    required = agent.ask(RANDOM)
    _, done = agent.pay(required, payment_for(required, wallet, 2))
    stranger = funded_wallet(stack.devnet)
    status, refused = agent.pay(required, payment_for(required, stranger, 2))
    assert (status, refused["code"]) == (409, "task_already_paid")
    assert done["payload"]["result"]["stdout"].strip() not in json.dumps(refused)
    assert stack.balance(stranger.address) == 100_000_000


def test_a_job_is_no_task_that_could_be_paid_for(wallet: Wallet, agent: Agent) -> None:
    required = agent.ask(RANDOM)
    _, done = agent.pay(required, payment_for(required, wallet, 2))
    again = payment_submitted(done["payload"]["jobId"], payment_for(required, wallet, 2))
    status, refused = agent.send(again)
    assert (status, refused["type"], refused["error"]) == (404, "task_failed", "not-found")


def test_the_task_that_is_done_is_the_one_that_was_asked_for(wallet: Wallet, agent: Agent) -> None:
    """A payment cannot bring another body along."""
    required = agent.ask({"code": "print('asked')"})
    message = payment_submitted(required["meta"]["jobId"], payment_for(required, wallet, 2))
    swapped = {"taskType": "run", "code": "print('swapped')", "size": "large"}
    message |= {"payload": swapped, "code": "print('swapped')"}
    message["meta"] |= {"task": swapped, "payload": swapped}
    status, done = agent.send(message)
    assert (status, done["payload"]["result"]["stdout"]) == (200, "asked\n")


def test_a_payment_by_header_pays_for_no_message(stack: Stack, wallet: Wallet, agent: Agent) -> None:
    body = {"code": "print('by header')"}
    headers = wallet.pay_v1(agent.http.post("/run", json=body))
    before = stack.balance(wallet.address)
    for message in (task_request(body), payment_submitted(str(uuid.uuid4()), None)):
        _, answer = agent.send(message, headers=headers)
        assert answer.get("type") != "task_completed"
    assert stack.balance(wallet.address) == before


def test_what_was_bought_by_message_is_the_same_purchase_by_http(wallet: Wallet, agent: Agent) -> None:
    """One request, one offer, one ledger: the authorization is used up on both doors."""
    body = {"code": "import os; print(os.urandom(8).hex())"}
    required = agent.ask(body)
    headers = wallet.pay_v2(agent.http.post("/run", json=body))
    paid = agent.http.post("/run", json=body, headers=headers)
    status, again = agent.pay(required, headers["PAYMENT-SIGNATURE"])
    assert (status, again["payload"]) == (200, paid.json())
    assert again["meta"]["receipt"] == receipt_of(paid)


def test_the_agents_name_is_a_label_and_the_payer_is_the_requester(
    stack: Stack, wallet: Wallet, agent: Agent
) -> None:
    required = agent.ask(RANDOM)
    message = payment_submitted(required["meta"]["jobId"], payment_for(required, wallet, 1))
    _, done = agent.send({**message, "agent_id": "0xSomebodyElse \u202e\x00\U0001f600"})
    job = agent.http.get(f"/status/{done['payload']['jobId']}").json()
    assert job["requester"] == wallet.address.lower()


def test_a_payment_identifier_brings_the_first_result_also_for_a_new_signature(
    stack: Stack, wallet: Wallet, agent: Agent
) -> None:
    required = agent.ask(RANDOM)
    named = {"extensions": {"payment-identifier": {"info": {"required": False, "id": uuid.uuid4().hex}}}}
    _, first = agent.pay(required, {**payment_for(required, wallet, 2), **named})
    balance = stack.balance(wallet.address)
    status, again = agent.pay(required, {**payment_for(required, wallet, 2), **named})
    assert (status, again) == (200, first)
    assert stack.balance(wallet.address) == balance


def test_a_broker_that_is_killed_in_the_middle_leaves_a_task_that_is_done_and_paid_once(
    stack: Stack, wallet: Wallet, agent: Agent
) -> None:
    # Long enough to be killed in the middle of it, however busy the machine is.
    required = agent.ask({"code": "import os, time; time.sleep(5); print(os.urandom(8).hex())"})
    before = stack.balance(wallet.address)
    payment = payment_for(required, wallet, 2)
    path = f"/status/{required['meta']['jobId']}"
    with (
        httpx.Client(base_url=stack.url("broker2"), timeout=90, trust_env=False, verify=False) as second,
        ThreadPoolExecutor(1) as pool,
    ):
        killed = pool.submit(Agent(second).pay, required, payment)
        while agent.http.get(path).json()["status"] != "running":
            assert not killed.done(), killed.result()
            time.sleep(0.02)
        stack.processes["broker2"].kill()
        with pytest.raises(httpx.HTTPError):
            killed.result()
    other = payment_for(required, wallet, 2)
    assert agent.pay(required, other)[1]["code"] == "task_already_paid"
    status, done = agent.pay(required, payment)
    assert (status, done["type"]) == (200, "task_completed"), done
    assert agent.http.get(path).json()["result"] == done["payload"]["result"]
    assert before - stack.balance(wallet.address) == price_of(required)
    stack.launch("broker", "broker2").wait_ready()


def test_a_host_that_charges_nothing_does_a_task_at_once(stack: Stack) -> None:
    process = stack.launch("broker", "free", X402_ENABLED="false", X402_WALLET_ADDRESS="").wait_ready()
    try:
        with httpx.Client(base_url=process.url, timeout=60, trust_env=False, verify=False) as client:
            status, done = Agent(client).send(task_request({"code": "print('gratis')"}))
            assert (status, done["type"]) == (200, "task_completed")
            assert done["payload"]["result"]["stdout"] == "gratis\n"
            assert client.get(f"/status/{done['meta']['jobId']}").json()["status"] == "completed"
            status, failed = Agent(client).send(task_request({"taskType": "run"}))
            assert (status, failed["type"], failed["error"]) == (400, "task_failed", "code is required")
    finally:
        process.stop()
