"""Too much of everything: bad signatures, requests, money promised twice."""

import asyncio
import json
import threading
import time
from typing import Any

import httpx

from tests.attacks.world import (
    Heard,
    World,
    challenge_of,
    closed,
    http_request,
    new_address,
    new_body,
    opened,
    price_of,
    wait_until,
)
from tests.support.wallets import Wallet, new_wallet

FLOOD = 300
OVER_THE_LIMIT = 3_900
"""An address may ask 1,200 times a minute, a wallet 600 times; at the turn of a minute more may pass."""


def flooding_client(world: World) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(
        verify=False, local_address=new_address(), limits=httpx.Limits(max_connections=20)
    )
    return httpx.AsyncClient(base_url=world.stack.broker, transport=transport, timeout=60)


def one_is_refused(answers: list[Heard]) -> bool:
    return any(status == 429 for status, _, _ in answers)


def keep_open(content: Any, *headers: tuple[str, str], **how: str) -> bytes:
    return http_request(content, ("Connection", "keep-alive"), *headers, **how)


async def test_a_flood_of_invalid_signatures_leaves_paying_clients_in_peace(
    world: World, wallet: Wallet
) -> None:
    flooded, bodies = new_body(), [new_body() for _ in range(10)]
    rows_before = world.facilitator.asked.copy()
    async with world.async_client() as payer, flooding_client(world) as attacker:
        challenge = await payer.post("/run", json=flooded)
        forged = opened(new_wallet().pay_v1(challenge))
        forged["payload"]["authorization"]["from"] = new_wallet().address
        flood = [
            asyncio.create_task(attacker.post("/run", json=flooded, headers=closed(forged)))
            for _ in range(FLOOD)
        ]
        took = []
        for body in bodies:
            began = time.monotonic()
            headers = wallet.pay_v2(await payer.post("/run", json=body))
            answer = await payer.post("/run", json=body, headers=headers)
            took.append(time.monotonic() - began)
            assert answer.status_code == 200, answer.text
        refused = await asyncio.gather(*flood)
    assert {answer.status_code for answer in refused} <= {400, 429}
    assert max(took) < 20, took
    asked = world.facilitator.asked[len(rows_before) :]
    forger = forged["payload"]["authorization"]["from"].lower()
    assert not [question for question in asked if question.payer == forger]
    assert world.runs(flooded) == 0
    assert world.runs(*bodies) == len(bodies)
    assert world.states(wallet) == ["settled"] * len(bodies)


def test_a_flood_from_one_address_is_slowed_down_and_others_are_served(world: World, wallet: Wallet) -> None:
    body = new_body()
    request = keep_open(b"", method="GET", target="/no-such-page")
    answers = world.pipelined([request] * OVER_THE_LIMIT, one_is_refused)
    limited = [answer for answer in answers if answer[0] == 429]
    assert {status for status, _, _ in answers} == {404, 429}
    assert json.loads(limited[0][2])["code"] == "rate_limited"
    assert int(limited[0][1]["retry-after"]) > 0
    with world.client() as other:
        assert (
            other.post("/run", json=body, headers=wallet.pay_v1(challenge_of(other, body))).status_code == 200
        )
    world.assert_sold_once(wallet, body)


def test_forged_forwarded_addresses_do_not_get_around_the_limit(world: World) -> None:
    names = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "CF-Connecting-IP")
    requests = [
        keep_open(b"", *((name, f"10.0.{n // 250}.{n % 250}") for name in names), method="GET", target="/no")
        for n in range(OVER_THE_LIMIT)
    ]
    assert one_is_refused(world.pipelined(requests, one_is_refused))


def test_one_wallet_is_slowed_down_whatever_addresses_it_comes_from(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers = wallet.pay_v1(challenge_of(broker, body))
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    request = keep_open(body, *headers.items())
    statuses = set[int]()
    for _ in range(9):  # three are enough, unless the minute turns meanwhile
        statuses |= {status for status, _, _ in world.pipelined([request] * 220)}
        if 429 in statuses:
            break
    assert statuses == {200, 429}
    world.assert_sold_once(wallet, body)


async def test_more_money_in_flight_than_the_wallet_has_is_paid_out_only_as_far_as_it_goes(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    bodies = [new_body() for _ in range(8)]
    challenges = [challenge_of(broker, body) for body in bodies]
    price = price_of(challenges[0])
    world.facilitator.funds[wallet.address.lower()] = 3 * price
    world.executor.run_s = 0.4
    async with world.async_client() as client:
        answers = await asyncio.gather(
            *(
                client.post("/run", json=body, headers=wallet.pay_v1(challenge))
                for body, challenge in zip(bodies, challenges, strict=True)
            )
        )
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [402] * 5
    assert sum("secret" in answer.text for answer in answers) == 3
    assert world.facilitator.moved(wallet.address) == [price] * 3
    assert sorted(world.states(wallet)) == ["rejected"] * 5 + ["settled"] * 3
    for row in world.payments(wallet):
        shown = broker.get(f"/status/{row.job_id}").json()["result"]
        assert (shown is None) == (row.state == "rejected")


async def test_one_wallet_may_not_have_more_in_flight_than_the_cap(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    """Five dollars by default; a job here costs a little over two."""
    world.quote.price_atomic = 2_000_000
    bodies = [new_body() for _ in range(6)]
    challenges = [challenge_of(broker, body) for body in bodies]
    world.executor.run_until = all_asked = threading.Event()
    async with world.async_client() as one, world.async_client("broker2") as two:
        asking = [
            asyncio.create_task(client.post("/run", json=body, headers=wallet.pay_v2(challenge)))
            for client, body, challenge in zip([one, two] * 3, bodies, challenges, strict=True)
        ]
        deadline = time.monotonic() + 20
        while sum(one_asking.done() for one_asking in asking) < 4 and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        all_asked.set()
        answers = await asyncio.gather(*asking)
    over = [answer for answer in answers if answer.status_code == 429]
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [429] * 4
    assert {answer.json()["code"] for answer in over} == {"too_many_in_flight"}
    assert all("Retry-After" in answer.headers for answer in over)
    assert world.runs(*bodies) == 2
    assert len(world.facilitator.moved(wallet.address)) == 2
    refused = next(n for n, answer in enumerate(answers) if answer.status_code == 429)
    later = broker.post("/run", json=bodies[refused], headers=wallet.pay_v1(challenges[refused]))
    assert later.status_code == 200


def test_a_payment_turned_away_at_the_cap_can_be_sent_again(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    """The very same authorization: being told to wait must not have used it up."""
    world.quote.price_atomic = 4_000_000
    running, waiting = new_body(), new_body()
    first, second = challenge_of(broker, running), challenge_of(broker, waiting)
    world.executor.run_until = is_refused = threading.Event()
    headers = wallet.pay_v2(second)
    with world.connection() as connection:
        connection.sendall(http_request(running, *wallet.pay_v1(first).items()))
        assert world.executor.began.wait(20)
        assert broker.post("/run", json=waiting, headers=headers).status_code == 429
        is_refused.set()
    wait_until(lambda: world.states(wallet) == ["settled"], "the first job is done")
    assert broker.post("/run", json=waiting, headers=headers).status_code == 200
    assert world.states(wallet) == ["settled", "settled"]
    assert world.runs(running, waiting) == 2


async def test_a_flood_of_different_unpaid_requests_runs_nothing_and_asks_no_facilitator(
    world: World,
) -> None:
    bodies = [new_body() for _ in range(150)]
    asked = len(world.facilitator.asked)
    async with flooding_client(world) as attacker:
        answers = await asyncio.gather(*(attacker.post("/run", json=body) for body in bodies))
    assert {answer.status_code for answer in answers} <= {402, 429}
    assert world.runs(*bodies) == 0
    later = world.facilitator.asked[asked:]
    assert not [question for question in later if question.path == "/verify"]
