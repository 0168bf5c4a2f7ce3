"""Fields bent between the 402 and the payment: refused before anything runs."""

import base64
import json
from typing import Any

import httpx
import pytest

from tests.attacks.world import World, challenge_of, closed, new_body, opened, price_of
from tests.support.wallets import Wallet, b64, new_wallet

EVIL = "0x00000000000000000000000000000000000e0511"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", "1"),
        ("amount", 1),
        ("payTo", EVIL),
        ("asset", EVIL),
        ("network", "eip155:8453"),
        ("network", "base-sepolia"),
        ("scheme", "upto"),
        ("maxTimeoutSeconds", 1),
        ("maxTimeoutSeconds", "265"),
    ],
)
def test_an_accepted_requirement_that_was_tampered_with_is_refused(
    world: World, broker: httpx.Client, wallet: Wallet, field: str, value: Any
) -> None:
    body = new_body()
    paid = opened(wallet.pay_v2(challenge_of(broker, body)))
    paid["accepted"][field] = value
    assert broker.post("/run", json=body, headers=closed(paid)).status_code == 400
    world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize("accepted", [None, [], "exact", 7, {}, {"scheme": "exact"}], ids=repr)
def test_an_accepted_that_is_no_requirement_is_malformed(
    world: World, broker: httpx.Client, wallet: Wallet, accepted: Any
) -> None:
    body = new_body()
    paid = opened(wallet.pay_v2(challenge_of(broker, body)))
    paid["accepted"] = accepted
    assert broker.post("/run", json=body, headers=closed(paid)).status_code == 400
    world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize(
    "extra",
    [
        {"quoteId": "no-such-offer"},
        {"quoteId": ""},
        {"quoteId": 7},
        {"quoteId": ["a"]},
        {"quoteId": "\x00"},
        {"quoteId": "\ud800"},
        {"quoteId": "' OR 1=1 --"},
        {"requestHash": "0" * 64},
        {"requestHash": None},
        {"requestHash": {"$ne": 1}},
        {"name": "USD Coin"},
        {"version": "1"},
    ],
    ids=ascii,
)
def test_an_echoed_extra_that_was_tampered_with_is_refused(
    world: World, broker: httpx.Client, wallet: Wallet, extra: dict[str, Any]
) -> None:
    body = new_body()
    paid = opened(wallet.pay_v2(challenge_of(broker, body)))
    paid["accepted"]["extra"].update(extra)
    assert broker.post("/run", json=body, headers=closed(paid)).status_code in {400, 402}
    world.assert_nothing_sold(wallet, body)


def test_the_offer_of_another_request_is_not_taken_by_its_id(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    mine, other = new_body(), new_body()
    paid = opened(wallet.pay_v2(challenge_of(broker, mine)))
    theirs = json.loads(base64.b64decode(challenge_of(broker, other).headers["PAYMENT-REQUIRED"]))
    paid["accepted"]["extra"] = theirs["accepts"][0]["extra"]
    assert broker.post("/run", json=mine, headers=closed(paid)).status_code in {400, 402}
    world.assert_nothing_sold(wallet, mine, other)


@pytest.mark.parametrize(
    "resource",
    [
        {"url": 7},
        {"url": None},
        {"url": "\ud800"},
        {"url": "http://evil.example/run"},
        {"url": "x" * 8_000},
        {},
        [],
        "http://evil.example",
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_resource_that_was_tampered_with_steers_nothing_and_is_nobody_elses_fault(
    world: World, broker: httpx.Client, wallet: Wallet, resource: Any
) -> None:
    """What the client says about the resource is its own business: bought as offered, or its own 400."""
    body = new_body()
    paid = opened(wallet.pay_v2(challenge_of(broker, body)))
    paid["resource"] = resource
    answer = broker.post("/run", json=body, headers=closed(paid))
    assert answer.status_code in {200, 400}, answer.text
    if answer.status_code == 200:
        world.assert_sold_once(wallet, body)
    else:
        world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize("extensions", [None, [], "x", {"payment-identifier": 7}, {"\ud800": {}}], ids=ascii)
def test_extensions_of_a_strange_shape_are_taken_as_none_or_refused(
    world: World, broker: httpx.Client, wallet: Wallet, extensions: Any
) -> None:
    body = new_body()
    paid = opened(wallet.pay_v2(challenge_of(broker, body)))
    paid["extensions"] = extensions
    answer = broker.post("/run", json=body, headers=closed(paid))
    assert answer.status_code in {200, 400}, answer.text
    if answer.status_code == 200:
        world.assert_sold_once(wallet, body)
    else:
        world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize("difference", [-1, 1])
def test_an_amount_next_to_the_price_is_not_the_price(
    world: World, broker: httpx.Client, wallet: Wallet, difference: int
) -> None:
    body = new_body()
    challenge = challenge_of(broker, body)
    headers = wallet.pay_v1(challenge, value=str(price_of(challenge) + difference))
    assert broker.post("/run", json=body, headers=headers).status_code == 402
    world.assert_nothing_sold(wallet, body)


def test_an_amount_of_zero_buys_nothing(world: World, broker: httpx.Client, wallet: Wallet) -> None:
    body = new_body()
    headers = wallet.pay_v1(challenge_of(broker, body), value="0")
    assert broker.post("/run", json=body, headers=headers).status_code == 402
    world.assert_nothing_sold(wallet, body)


def test_money_signed_to_somebody_else_buys_nothing(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers = wallet.pay_v1(challenge_of(broker, body), to=EVIL)
    answer = broker.post("/run", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "recipient_mismatch")
    world.assert_nothing_sold(wallet, body)


def test_a_signature_of_another_key_buys_nothing(world: World, broker: httpx.Client, wallet: Wallet) -> None:
    body, victim = new_body(), new_wallet()
    headers = wallet.pay_v1(challenge_of(broker, body), **{"from": victim.address})
    answer = broker.post("/run", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_signature")
    world.assert_nothing_sold(wallet, body)
    world.assert_nothing_sold(victim, body)


@pytest.mark.parametrize("extra", [{"name": "USD Coin", "version": "2"}, {"name": "USDC", "version": "1"}])
def test_a_signature_for_another_token_domain_buys_nothing(
    world: World, broker: httpx.Client, wallet: Wallet, extra: dict[str, str]
) -> None:
    body = new_body()
    wanted = challenge_of(broker, body).json()["accepts"][0]
    payload = wallet.payload(wanted["asset"], wanted["payTo"], int(wanted["maxAmountRequired"]), extra)
    envelope = {"x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": payload}
    answer = broker.post("/run", json=body, headers={"X-PAYMENT": b64(envelope)})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_signature")
    world.assert_nothing_sold(wallet, body)


def test_a_signature_for_another_token_contract_buys_nothing(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    wanted = challenge_of(broker, body).json()["accepts"][0]
    payload = wallet.payload(EVIL, wanted["payTo"], int(wanted["maxAmountRequired"]), wanted["extra"])
    envelope = {"x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": payload}
    assert broker.post("/run", json=body, headers={"X-PAYMENT": b64(envelope)}).status_code == 400
    world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize("network", ["base", "eip155:84532", "BASE-SEPOLIA", "solana", "\ud800", "x" * 65])
def test_a_v1_payment_on_another_network_buys_nothing(
    world: World, broker: httpx.Client, wallet: Wallet, network: str
) -> None:
    body = new_body()
    paid = opened(wallet.pay_v1(challenge_of(broker, body)))
    paid["network"] = network
    assert broker.post("/run", json=body, headers=closed(paid)).status_code == 400
    world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize(
    "signature",
    [
        "0x" + "00" * 65,
        "0x" + "ff" * 65,
        "0x" + "00" * 32 + "01".zfill(64) + "1b",
        "0x" + "11" * 64 + "1d",
        "0x" + "11" * 64,
        "0x",
        "",
        "0x" + "zz" * 65,
        None,
        {"r": 1},
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_signature_that_is_none_is_refused(
    world: World, broker: httpx.Client, wallet: Wallet, signature: Any
) -> None:
    body = new_body()
    paid = opened(wallet.pay_v1(challenge_of(broker, body)))
    paid["payload"]["signature"] = signature
    assert broker.post("/run", json=body, headers=closed(paid)).status_code == 400
    world.assert_nothing_sold(wallet, body)


def test_the_zero_address_pays_for_nothing(world: World, broker: httpx.Client, wallet: Wallet) -> None:
    """A recovery that fails gives the zero address in careless programs."""
    body = new_body()
    paid = opened(wallet.pay_v1(challenge_of(broker, body)))
    paid["payload"]["authorization"]["from"] = "0x" + "00" * 20
    paid["payload"]["signature"] = "0x" + "00" * 65
    assert broker.post("/run", json=body, headers=closed(paid)).status_code == 400
    assert world.runs(body) == 0


def test_a_permit2_payload_is_refused_with_a_reason(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    paid = opened(wallet.pay_v2(challenge_of(broker, body)))
    paid["payload"] = {
        "signature": paid["payload"]["signature"],
        "permit2Authorization": {
            "from": wallet.address,
            "permitted": {"token": paid["accepted"]["asset"], "amount": paid["accepted"]["amount"]},
            "spender": "0x4020cd856c882d5fb903d99ce35316a085bb0001",
            "nonce": "1",
            "deadline": "99999999999",
            "witness": {"to": paid["accepted"]["payTo"], "validAfter": "0", "extra": "0x"},
        },
    }
    answer = broker.post("/run", json=body, headers=closed(paid))
    assert (answer.status_code, answer.json()["code"]) == (400, "permit2_refused")
    world.assert_nothing_sold(wallet, body)


def test_a_permit2_part_beside_a_good_authorization_is_refused(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    paid = opened(wallet.pay_v2(challenge_of(broker, body)))
    paid["payload"]["permit2Authorization"] = None
    answer = broker.post("/run", json=body, headers=closed(paid))
    assert (answer.status_code, answer.json()["code"]) == (400, "permit2_refused")
    world.assert_nothing_sold(wallet, body)


def test_an_erc_1271_signature_is_refused_with_a_reason(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    paid = opened(wallet.pay_v1(challenge_of(broker, body)))
    paid["payload"]["signature"] += "ab" * 32
    answer = broker.post("/run", json=body, headers=closed(paid))
    assert (answer.status_code, answer.json()["code"]) == (400, "contract_signature_refused")
    world.assert_nothing_sold(wallet, body)


def test_an_erc_6492_signature_is_refused_with_a_reason(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    """A good signature wrapped as the one of a wallet that is yet to be deployed."""
    body = new_body()
    paid = opened(wallet.pay_v1(challenge_of(broker, body)))
    inner = paid["payload"]["signature"][2:]
    words = [
        EVIL[2:].zfill(64),
        f"{0x60:064x}",
        f"{0x80:064x}",
        f"{0:064x}",
        f"{65:064x}",
        inner.ljust(192, "0"),
    ]
    paid["payload"]["signature"] = "0x" + "".join(words) + "6492" * 16
    answer = broker.post("/run", json=body, headers=closed(paid))
    assert (answer.status_code, answer.json()["code"]) == (400, "contract_signature_refused")
    world.assert_nothing_sold(wallet, body)
