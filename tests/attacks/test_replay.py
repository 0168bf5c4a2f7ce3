"""The same authorization again: later, elsewhere, after a restart, after its time."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.attacks.world import World, challenge_of, closed, http_request, new_body, opened, running_world
from tests.support.ports import free_port
from tests.support.services import Process
from tests.support.standin import Answer, always
from tests.support.wallets import Wallet, new_wallet, receipt_of

LATER_S = 900


def test_a_replay_after_success_is_the_same_answer_and_nothing_more(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers = wallet.pay_v2(challenge_of(broker, body))
    first = broker.post("/run", json=body, headers=headers)
    for _ in range(5):
        again = broker.post("/run", json=body, headers=headers)
        assert (again.status_code, again.text) == (200, first.text)
        assert receipt_of(again) == receipt_of(first)
    world.assert_sold_once(wallet, body)


def test_a_replay_at_another_broker_is_the_same_answer(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers = wallet.pay_v1(challenge_of(broker, body))
    first = broker.post("/run", json=body, headers=headers)
    with world.client("broker2") as second:
        again = second.post("/run", json=body, headers=headers)
    assert (again.status_code, again.text, receipt_of(again)) == (200, first.text, receipt_of(first))
    world.assert_sold_once(wallet, body)


def test_a_replay_in_the_other_version_is_the_same_result(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:

    body = new_body()
    paid = opened(wallet.pay_v2(challenge_of(broker, body)))
    first = broker.post("/run", json=body, headers=closed(paid))
    v1 = {"x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": paid["payload"]}
    again = broker.post("/run", json=body, headers=closed(v1))
    assert (again.status_code, again.text) == (200, first.text)
    world.assert_sold_once(wallet, body)


def test_a_replay_on_the_other_route_is_refused(world: World, broker: httpx.Client, wallet: Wallet) -> None:
    body = new_body()
    challenge_of(broker, body, "/execute")
    headers = wallet.pay_v1(challenge_of(broker, body, "/run"))
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    again = broker.post("/execute", json=body, headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "authorization_used")
    assert "secret" not in again.text
    world.assert_sold_once(wallet, body)


def test_a_replay_by_a_thief_of_the_header_yields_no_other_work(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    """Whoever overhears the header may at most see the one result that it bought."""
    body, wanted = new_body(), [new_body() for _ in range(5)]
    headers = wallet.pay_v1(challenge_of(broker, body))
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    for other in wanted:
        assert broker.post("/run", json=other, headers=headers).status_code == 409
    world.assert_sold_once(wallet, body, *wanted)


def test_a_refused_verification_leaves_the_authorization_free(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers = wallet.pay_v2(challenge_of(broker, body))
    world.facilitator.on_verify = always(Answer.of({"isValid": False, "invalidReason": "insufficient_funds"}))
    assert broker.post("/run", json=body, headers=headers).status_code == 402
    world.assert_nothing_sold(wallet, body)
    world.facilitator.on_verify = None
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    world.assert_sold_once(wallet, body)


# -- a state folder of its own, whose brokers are killed and moved in time -------------------------


@pytest.fixture(scope="module")
def restless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("restless")) as running:
        yield running


def restart(world: World) -> None:
    """`kill -9`, and up again on the same state."""
    world.stack.processes["broker"].kill()
    world.stack.launch("broker").wait_ready()


def settled_answer(client: httpx.Client, body: dict[str, object], headers: dict[str, str]) -> httpx.Response:
    """Send the same payment until the broker knows what became of it."""
    deadline = time.monotonic() + 40
    while True:
        answer = client.post("/run", json=body, headers=headers)
        if answer.status_code not in {202, 503}:
            return answer
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.3)


def test_a_replay_after_a_restart_is_the_same_answer(restless: World, wallet: Wallet) -> None:
    restless.be_honest()
    body = new_body()
    with restless.client() as client:
        headers = wallet.pay_v2(challenge_of(client, body))
        first = client.post("/run", json=body, headers=headers)
    restart(restless)
    with restless.client() as client:
        again = client.post("/run", json=body, headers=headers)
    assert (again.status_code, again.text, receipt_of(again)) == (200, first.text, receipt_of(first))
    restless.assert_sold_once(wallet, body)


def test_a_price_told_before_a_restart_is_paid_after_it(restless: World, wallet: Wallet) -> None:
    restless.be_honest()
    body = new_body()
    with restless.client() as client:
        headers = wallet.pay_v1(challenge_of(client, body))
    restart(restless)
    restless.quote.price_atomic = 77_777
    with restless.client() as client:
        assert client.post("/run", json=body, headers=headers).status_code == 200
    restless.assert_sold_once(wallet, body)


@pytest.mark.parametrize("stage", ["verify", "run", "settle"])
def test_a_broker_killed_in_the_middle_sells_once_or_not_at_all(
    restless: World, wallet: Wallet, stage: str
) -> None:
    """At most one result is kept and one settlement made, and money that moved bought a result."""
    restless.be_honest()
    body = new_body()
    is_dead = threading.Event()  # before that, the stage does not end
    if stage == "verify":
        restless.facilitator.on_verify = lambda asked: Answer.of(
            {"isValid": True, "payer": asked.payer}, until=is_dead
        )
    if stage == "run":
        restless.executor.run_until = is_dead
    if stage == "settle":
        restless.facilitator.on_settle = lambda asked: Answer(
            body=restless.facilitator.settle(asked).body, until=is_dead
        )
    began = {
        "verify": restless.facilitator.verify_began,
        "run": restless.executor.began,
        "settle": restless.facilitator.settle_began,
    }[stage]
    with restless.client() as client:
        headers = wallet.pay_v2(challenge_of(client, body))
    with restless.connection() as connection:
        (header,) = headers.items()
        connection.sendall(http_request(body, header))
        assert began.wait(20)
        restless.stack.processes["broker"].kill()
    is_dead.set()
    restless.be_honest()
    restless.stack.launch("broker").wait_ready()
    with restless.client() as client:
        answer = settled_answer(client, body, headers)
        assert answer.status_code == 200, answer.text
        assert "secret" in answer.text
        again = client.post("/run", json=body, headers=headers)
        assert again.text == answer.text
    assert len(restless.facilitator.moved(wallet.address)) == 1
    (row,) = restless.payments(wallet)
    assert (row.state, row.job_status) == ("settled", "completed")
    assert restless.runs(body) == 1


# -- later -------------------------------------------------------------------------------------

LATE_BROKER = f"""
import time
from broker.main import SERVICE, create_app
from broker.settings import BrokerSettings
from shared.serve import run_module
def later(settings):
    return create_app(settings, lambda: time.time() + {LATER_S})
run_module(SERVICE, BrokerSettings, later, port_setting="BROKER_PORT")
"""


@contextmanager
def later(restless: World) -> Iterator[httpx.Client]:
    """The same broker on the same state, a quarter of an hour later (its clock is injected).

    By its clock each lease of today has run out: nothing may be under way beside it.
    """
    port = free_port()
    log = restless.stack.home / "late.log"
    with log.open("ab") as output:
        popen = subprocess.Popen(
            [sys.executable, "-c", LATE_BROKER],
            env={**restless.stack.environment, "BROKER_PORT": str(port)},
            cwd=restless.stack.home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    process = Process("late", f"http://127.0.0.1:{port}", log, popen)
    restless.stack.processes["late"] = process
    try:
        process.wait_ready()
        with restless.client("late") as client:
            yield client
    finally:
        process.stop()
        del restless.stack.processes["late"]


def test_what_has_expired_buys_nothing_new_and_what_was_bought_stays_bought(
    restless: World, wallet: Wallet
) -> None:
    restless.be_honest()
    sold, unsold, stale_offer = new_body(), new_body(), new_body()
    tardy, patient = new_wallet(), new_wallet()
    with restless.client() as now:
        sold_headers = wallet.pay_v1(challenge_of(now, sold))
        first = now.post("/run", json=sold, headers=sold_headers)
        tardy_headers = tardy.pay_v2(challenge_of(now, unsold))
        stale = challenge_of(now, stale_offer)
        patient_headers = patient.pay_v1(stale, validBefore=str(int(time.time()) + 10 * LATER_S))

    with later(restless) as late:
        replay = late.post("/run", json=sold, headers=sold_headers)
        assert (replay.status_code, replay.text) == (200, first.text)
        restless.assert_sold_once(wallet, sold)

        expired = late.post("/run", json=unsold, headers=tardy_headers)
        assert expired.status_code == 402
        restless.assert_nothing_sold(tardy, unsold)

        restless.quote.price_atomic = 44_000
        offer_gone = late.post("/run", json=stale_offer, headers=patient_headers)
        assert (offer_gone.status_code, offer_gone.json()["code"]) == (402, "offer_expired")
        assert int(offer_gone.json()["accepts"][0]["maxAmountRequired"]) > 44_000
        restless.assert_nothing_sold(patient, stale_offer)

        fresh_offer = challenge_of(late, unsold)
        dead = tardy.pay_v1(fresh_offer, validBefore=str(int(time.time()) + 250))
        assert late.post("/run", json=unsold, headers=dead).json()["code"] == "authorization_expires_too_soon"
        restless.assert_nothing_sold(tardy, unsold)
