"""Brokers that are slow, frozen or stopped while another one is ready to take their payments over."""

import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.attacks.world import World, challenge_of, new_body, running_world, sent_meanwhile, wait_until
from tests.support.standin import Answer
from tests.support.wallets import Wallet

LEASE_S = 2


@pytest.fixture(scope="module")
def pair_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("pair"), brokers=2, lease_s=LEASE_S) as running:
        yield running


@pytest.fixture
def pair(pair_world: World) -> World:
    pair_world.be_honest()
    return pair_world


def test_a_run_longer_than_the_lease_is_not_taken_over(pair: World, wallet: Wallet) -> None:
    body = new_body()
    pair.executor.run_s = 2.5 * LEASE_S
    with pair.client() as client:
        answer = client.post("/run", json=body, headers=wallet.pay_v2(challenge_of(client, body)))
    assert answer.status_code == 200
    pair.assert_sold_once(wallet, body)
    assert pair.executor.calls[answer.json()["jobId"]] == 1


@pytest.mark.parametrize("stage", ["verify", "run", "settle"])
def test_a_broker_frozen_until_another_took_over_sells_nothing_twice_when_it_wakes(
    pair: World, wallet: Wallet, stage: str
) -> None:
    body = new_body()
    is_frozen = threading.Event()  # before that, the stage does not end
    if stage == "verify":
        pair.facilitator.on_verify = lambda asked: Answer.of(
            {"isValid": True, "payer": asked.payer}, until=is_frozen
        )
        began = pair.facilitator.verify_began
    elif stage == "run":
        pair.executor.run_until, began = is_frozen, pair.executor.began
    else:
        pair.facilitator.on_settle = lambda asked: Answer(
            body=pair.facilitator.settle(asked).body, until=is_frozen
        )
        began = pair.facilitator.settle_began
    with (
        pair.client() as client,
        sent_meanwhile(client, body, wallet.pay_v1(challenge_of(client, body))) as sent,
    ):
        assert began.wait(20)
        with pair.stack.frozen():
            is_frozen.set()
            ended = "voided" if stage == "verify" else "settled"
            wait_until(lambda: pair.states(wallet) == [ended], "the other broker takes over")
        answer = sent.result()  # the client checks each answer: never a 500
    assert answer.status_code in {200, 202, 503}, answer.text
    if stage == "verify":
        assert pair.facilitator.moved(wallet.address) == []
        assert pair.states(wallet) == ["voided"]
        return
    assert pair.runs(body) == 1
    assert len(pair.facilitator.moved(wallet.address)) == 1
    assert pair.states(wallet) == ["settled"]


def test_a_broker_that_is_stopped_kindly_finishes_what_was_paid(pair: World, wallet: Wallet) -> None:
    body = new_body()
    pair.executor.run_until = is_told = threading.Event()
    broker = pair.stack.processes["broker"]
    with (
        pair.client() as client,
        sent_meanwhile(client, body, wallet.pay_v2(challenge_of(client, body))) as sent,
    ):
        assert pair.executor.began.wait(20)
        broker.popen.terminate()
        time.sleep(0.5)  # the work goes on while the broker knows that it is to end
        is_told.set()
        answer = sent.result()
    broker.popen.wait(40)
    pair.stack.launch("broker").wait_ready()
    assert answer.status_code == 200
    pair.assert_sold_once(wallet, body)


def test_two_brokers_do_not_both_settle_what_a_third_left_behind(pair: World, wallet: Wallet) -> None:
    """A broker dies in the run; of those that are left, one carries on."""
    third = pair.stack.launch("broker", "broker3").wait_ready()
    body = new_body()
    pair.executor.run_until = is_dead = threading.Event()
    with pair.client("broker3") as client:
        headers = wallet.pay_v1(challenge_of(client, body))
        with sent_meanwhile(client, body, headers) as sent:
            assert pair.executor.began.wait(20)
            third.kill()
            is_dead.set()
            assert isinstance(sent.exception(), httpx.TransportError)
    wait_until(lambda: pair.states(wallet) == ["settled"], "one of the others carries on")
    with pair.client("broker2") as client:
        assert client.post("/run", json=body, headers=headers).status_code == 200
    pair.assert_sold_once(wallet, body)
