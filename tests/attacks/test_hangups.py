"""Clients that hang up: before they have asked, nothing happens; after they have paid, the work goes on."""

import socket
import struct
import threading
import time

import httpx
import pytest

from tests.attacks.facilitator import Asked
from tests.attacks.world import (
    World,
    challenge_of,
    http_request,
    new_body,
    price_of,
    sent_meanwhile,
    wait_until,
)
from tests.support.standin import Answer
from tests.support.wallets import Wallet


def reset(connection: socket.socket) -> None:
    """Hang up the rude way: RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("rude", [False, True], ids=["politely", "rudely"])
@pytest.mark.parametrize(
    "part", [0.05, 0.5, 0.97], ids=["in the headers", "late in the headers", "in the body"]
)
def test_nothing_happens_for_a_client_that_hangs_up_while_it_asks(
    world: World, broker: httpx.Client, wallet: Wallet, part: float, rude: bool
) -> None:
    body = new_body()
    (header,) = wallet.pay_v2(challenge_of(broker, body)).items()
    request = http_request(body, header)
    with world.connection() as connection:
        connection.sendall(request[: int(len(request) * part)])
        time.sleep(0.05)
        if rude:
            reset(connection)
    time.sleep(0.15)
    world.assert_nothing_sold(wallet, body)
    assert broker.post("/run", json=body, headers=dict([header])).status_code == 200
    world.assert_sold_once(wallet, body)


def slow_down(world: World, stage: str) -> threading.Event:
    """Make this stage take a while; the event says that it has begun."""
    if stage == "verify":
        world.facilitator.on_verify = lambda asked: Answer.of(
            {"isValid": True, "payer": asked.payer}, delay_s=0.3
        )
        return world.facilitator.verify_began
    if stage == "run":
        world.executor.run_s = 0.3
        return world.executor.began

    def settle(asked: Asked) -> Answer:
        return Answer(body=world.facilitator.settle(asked).body, delay_s=0.3)

    world.facilitator.on_settle = settle
    return world.facilitator.settle_began


@pytest.mark.parametrize("rude", [False, True], ids=["politely", "rudely"])
@pytest.mark.parametrize("stage", ["verify", "run", "settle"])
def test_the_sale_goes_on_for_a_client_that_hangs_up_during_the(
    world: World, broker: httpx.Client, wallet: Wallet, stage: str, rude: bool
) -> None:
    body = new_body()
    headers = wallet.pay_v1(challenge_of(broker, body))
    began = slow_down(world, stage)
    with world.connection() as connection:
        connection.sendall(http_request(body, *headers.items()))
        assert began.wait(20)
        if rude:
            reset(connection)
    wait_until(lambda: world.states(wallet) == ["settled"], "the sale is finished without the client")
    again = broker.post("/run", json=body, headers=headers)
    assert again.status_code == 200
    assert "secret" in again.text
    world.assert_sold_once(wallet, body)


def test_a_client_that_never_reads_its_answer_can_fetch_it_later(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers = wallet.pay_v2(challenge_of(broker, body))
    with world.connection() as connection:
        connection.sendall(http_request(body, *headers.items()))
        wait_until(lambda: world.states(wallet) == ["settled"], "the sale is finished")
    again = broker.post("/run", json=body, headers=headers)
    assert again.status_code == 200
    (row,) = world.payments(wallet)
    assert broker.get(f"/status/{row.job_id}").json()["result"] == again.json()["result"]
    world.assert_sold_once(wallet, body)


def test_hanging_up_and_asking_again_at_once_and_often_is_one_sale(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers = wallet.pay_v1(challenge_of(broker, body))
    world.executor.run_s = 0.3
    for number in range(12):
        name = "broker" if number % 2 else "broker2"
        with world.connection(name) as connection:
            connection.sendall(http_request(body, *headers.items()))
            time.sleep(0.02)
            reset(connection)
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    world.assert_sold_once(wallet, body)


def test_the_second_one_to_wait_does_not_end_the_work_by_hanging_up(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers = wallet.pay_v2(challenge_of(broker, body))
    world.executor.run_s = 0.4
    with world.client() as first, sent_meanwhile(first, body, headers) as sent:
        assert world.executor.began.wait(20)
        with world.connection() as second:
            second.sendall(http_request(body, *headers.items()))
            time.sleep(0.05)
            reset(second)
        assert sent.result().status_code == 200
    world.assert_sold_once(wallet, body)


def test_a_client_that_hangs_up_before_a_refused_settlement_gets_nothing_for_free(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    challenge = challenge_of(broker, body)
    headers = wallet.pay_v1(challenge)
    world.facilitator.funds[wallet.address.lower()] = price_of(challenge)
    world.executor.run_until = is_poor = threading.Event()
    with world.connection() as connection:
        connection.sendall(http_request(body, *headers.items()))
        assert world.executor.began.wait(20)
    world.facilitator.funds[wallet.address.lower()] = 0
    is_poor.set()
    wait_until(lambda: world.states(wallet) == ["rejected"], "the settlement is refused")
    (row,) = world.payments(wallet)
    assert broker.get(f"/status/{row.job_id}").json()["result"] is None
    assert "secret" not in broker.post("/run", json=body, headers=headers).text
    assert (world.runs(body), world.facilitator.moved(wallet.address)) == (1, [])


def test_hundreds_of_half_sent_requests_do_not_keep_a_paying_client_waiting(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    idle = []
    try:
        for _ in range(200):
            connection = socket.create_connection(("127.0.0.1", world.stack.ports["broker"]), 15)
            connection.sendall(b"POST /run HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
            idle.append(connection)
        began = time.monotonic()
        headers = wallet.pay_v2(challenge_of(broker, body))
        assert broker.post("/run", json=body, headers=headers).status_code == 200
        assert time.monotonic() - began < 20
    finally:
        for connection in idle:
            connection.close()
    world.assert_sold_once(wallet, body)


def test_hang_ups_leave_no_traceback_in_the_log(world: World, broker: httpx.Client, wallet: Wallet) -> None:
    """An attacker's hang-ups must not look like our own failures, nor fill the disk."""
    body = new_body()
    (header,) = wallet.pay_v1(challenge_of(broker, body)).items()
    request = http_request(body, header)
    before = world.stack.processes["broker"].output().count("Traceback")
    for _ in range(10):
        with world.connection() as connection:
            connection.sendall(request[:-5])
            time.sleep(0.01)
            reset(connection)
    assert broker.get("/health").status_code == 200
    time.sleep(0.2)
    assert world.stack.processes["broker"].output().count("Traceback") == before
    world.assert_nothing_sold(wallet, body)
