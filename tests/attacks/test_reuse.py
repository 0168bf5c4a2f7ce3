"""One authorization, spent many times at once: one run, one settlement, whatever it is dressed as."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.attacks.world import World, challenge_of, closed, new_body, opened, price_of
from tests.support.wallets import Wallet, new_wallet, receipt_of

PARALLEL = 40
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


async def at_once(
    world: World, requests: list[tuple[str, str, dict[str, Any], dict[str, str]]]
) -> list[httpx.Response]:
    """Send `(broker, path, body, headers)` all at the same time."""
    clients = {name: world.async_client(name) for name in {request[0] for request in requests}}
    try:
        return await asyncio.gather(
            *(clients[name].post(path, json=body, headers=headers) for name, path, body, headers in requests)
        )
    finally:
        for client in clients.values():
            await client.aclose()


@pytest.mark.parametrize("version", [1, 2])
async def test_forty_parallel_uses_on_one_route_are_one_sale(
    world: World, broker: httpx.Client, wallet: Wallet, version: int
) -> None:
    body = new_body()
    world.executor.run_s = 0.2
    challenge = challenge_of(broker, body)
    headers = wallet.pay_v1(challenge) if version == 1 else wallet.pay_v2(challenge)
    answers = await at_once(world, [("broker", "/run", body, headers)] * PARALLEL)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["result"]["stdout"] for answer in answers}) == 1
    assert len({receipt_of(answer)["transaction"] for answer in answers}) == 1
    world.assert_sold_once(wallet, body)


async def test_parallel_uses_on_two_routes_that_both_stand_priced_are_one_sale(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    world.executor.run_s = 0.2
    challenge_of(broker, body, "/execute")
    headers = wallet.pay_v1(challenge_of(broker, body, "/run"))
    requests = [("broker", path, body, headers) for path in ("/run", "/execute") for _ in range(10)]
    answers = await at_once(world, requests)
    assert {answer.status_code for answer in answers} == {200, 409}
    assert len({answer.text for answer in answers if answer.status_code == 200}) == 1
    world.assert_sold_once(wallet, body)


async def test_parallel_uses_at_two_broker_processes_are_one_sale(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    world.executor.run_s = 0.2
    headers = wallet.pay_v2(challenge_of(broker, body))
    requests = [(name, "/run", body, headers) for name in ("broker", "broker2")] * (PARALLEL // 2)
    answers = await at_once(world, requests)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["jobId"] for answer in answers}) == 1
    world.assert_sold_once(wallet, body)


async def test_parallel_uses_for_two_requests_at_two_broker_processes_are_one_sale(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    bodies = [new_body(), new_body()]
    world.executor.run_s = 0.2
    challenges = [challenge_of(broker, body) for body in bodies]
    headers = wallet.pay_v1(challenges[0])
    requests = [
        (name, "/run", body, headers)
        for _ in range(8)
        for name, body in zip(("broker", "broker2"), bodies, strict=True)
    ]
    answers = await at_once(world, requests)
    assert {answer.status_code for answer in answers} == {200, 409}
    world.assert_sold_once(wallet, *bodies)


async def test_the_same_authorization_as_v1_and_as_v2_is_one_sale(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    world.executor.run_s = 0.2
    v2 = opened(wallet.pay_v2(challenge_of(broker, body)))
    v1 = {"x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": v2["payload"]}
    answers = await at_once(world, [("broker", "/run", body, closed(envelope)) for envelope in (v1, v2)] * 10)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["result"]["stdout"] for answer in answers}) == 1
    world.assert_sold_once(wallet, body)


def upper_digits(text: str) -> str:
    return "0x" + text[2:].upper()


def mixed_digits(text: str) -> str:
    return "0x" + "".join(c.upper() if i % 2 else c for i, c in enumerate(text[2:].lower()))


async def test_other_spellings_of_the_hex_digits_are_the_same_authorization(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    world.executor.run_s = 0.2
    paid = opened(wallet.pay_v1(challenge_of(broker, body)))
    spellings: list[Callable[[str], str]] = [str.lower, upper_digits, mixed_digits]
    requests = []
    for spell_payer in spellings:
        for spell_nonce in spellings:
            for spell_signature in spellings:
                auth = dict(paid["payload"]["authorization"])
                auth["from"], auth["to"] = spell_payer(auth["from"]), spell_payer(auth["to"])
                auth["nonce"] = spell_nonce(auth["nonce"])
                signature = spell_signature(paid["payload"]["signature"])
                spelled = {**paid, "payload": {"signature": signature, "authorization": auth}}
                requests.append(("broker", "/run", body, closed(spelled)))
    answers = await at_once(world, requests)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["jobId"] for answer in answers}) == 1
    world.assert_sold_once(wallet, body)


@pytest.mark.parametrize("spelling", ["0X", "", "0x0", "0x00"])
def test_a_nonce_with_another_prefix_or_more_zeros_is_malformed(
    world: World, broker: httpx.Client, wallet: Wallet, spelling: str
) -> None:
    body = new_body()
    paid = opened(wallet.pay_v1(challenge_of(broker, body)))
    paid["payload"]["authorization"]["nonce"] = spelling + paid["payload"]["authorization"]["nonce"][2:]
    answer = broker.post("/run", json=body, headers=closed(paid))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_payment")
    world.assert_nothing_sold(wallet, body)


def test_a_malleated_signature_is_no_second_authorization(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    paid = opened(wallet.pay_v1(challenge_of(broker, body)))
    assert broker.post("/run", json=body, headers=closed(paid)).status_code == 200
    raw = bytes.fromhex(paid["payload"]["signature"][2:])
    high_s = (ORDER - int.from_bytes(raw[32:64])).to_bytes(32)
    paid["payload"]["signature"] = "0x" + (raw[:32] + high_s + bytes([55 - raw[64]])).hex()
    answer = broker.post("/run", json=body, headers=closed(paid))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_signature")
    world.assert_sold_once(wallet, body)


def test_a_signature_with_v_of_0_or_1_buys_nothing_a_second_time(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    paid = opened(wallet.pay_v2(challenge_of(broker, body)))
    assert broker.post("/run", json=body, headers=closed(paid)).status_code == 200
    raw = bytes.fromhex(paid["payload"]["signature"][2:])
    paid["payload"]["signature"] = "0x" + (raw[:64] + bytes([raw[64] - 27])).hex()
    assert broker.post("/run", json=body, headers=closed(paid)).status_code in {200, 400}
    world.assert_sold_once(wallet, body)


def test_a_body_swapped_after_pricing_is_not_what_was_paid_for(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    priced, swapped = new_body(), new_body()
    headers = wallet.pay_v1(challenge_of(broker, priced))
    answer = broker.post("/run", json=swapped, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (402, "offer_expired")
    world.assert_nothing_sold(wallet, priced, swapped)


def test_a_body_swapped_after_the_sale_gets_neither_its_run_nor_the_first_ones_result(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    sold, swapped = new_body(), new_body()
    headers = wallet.pay_v1(challenge_of(broker, sold))
    challenge_of(broker, swapped)
    assert broker.post("/run", json=sold, headers=headers).status_code == 200
    answer = broker.post("/run", json=swapped, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "authorization_used")
    assert "secret" not in answer.text
    world.assert_sold_once(wallet, sold, swapped)


@pytest.mark.parametrize(
    "change",
    [{"timeout": 60}, {"args": ["x"]}, {"stdin": "x"}, {"env": {"A": "1"}}, {"language": "bash"}],
    ids=lambda change: next(iter(change)),
)
def test_any_field_of_the_work_swapped_after_pricing_is_another_request(
    world: World, broker: httpx.Client, wallet: Wallet, change: dict[str, Any]
) -> None:
    body = new_body()
    headers = wallet.pay_v2(challenge_of(broker, body))
    answer = broker.post("/run", json={**body, **change}, headers=headers)
    assert answer.status_code == 402
    world.assert_nothing_sold(wallet, body)


def test_a_path_swapped_after_pricing_is_another_request(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers = wallet.pay_v2(challenge_of(broker, body, "/run"))
    assert broker.post("/execute", json=body, headers=headers).status_code == 402
    world.assert_nothing_sold(wallet, body)


def test_a_cheap_offer_does_not_buy_dear_work(world: World, broker: httpx.Client, wallet: Wallet) -> None:
    cheap, dear = new_body(), new_body(timeout=60)
    world.quote.price_atomic = 10
    cheap_headers = wallet.pay_v2(challenge_of(broker, cheap))
    world.quote.price_atomic = 900_000
    dear_price = price_of(challenge_of(broker, dear))
    answer = broker.post("/run", json=dear, headers=cheap_headers)
    assert answer.status_code == 402
    assert price_of(answer) == dear_price > 900_000
    world.assert_nothing_sold(wallet, cheap, dear)


def test_a_stranger_who_copies_a_nonce_does_not_burn_it(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body, stranger = new_body(), new_wallet()
    challenge = challenge_of(broker, body)
    paid = opened(wallet.pay_v1(challenge))
    copied = stranger.pay_v1(challenge, nonce=paid["payload"]["authorization"]["nonce"])
    theirs = broker.post("/run", json=body, headers=copied)
    ours = broker.post("/run", json=body, headers=closed(paid))
    assert (theirs.status_code, ours.status_code) == (200, 200)
    assert theirs.json()["jobId"] != ours.json()["jobId"]
    assert world.states(wallet) == world.states(stranger) == ["settled"]


def test_an_overheard_payment_without_its_key_cannot_be_turned_to_another_recipient_or_amount(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    paid = opened(wallet.pay_v1(challenge_of(broker, body)))
    for field, value in (("value", "1"), ("to", new_wallet().address), ("from", new_wallet().address)):
        forged = json.loads(json.dumps(paid))
        forged["payload"]["authorization"][field] = value
        assert broker.post("/run", json=body, headers=closed(forged)).status_code == 400
    world.assert_nothing_sold(wallet, body)
