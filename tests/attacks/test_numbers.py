"""Numbers that some parsers take and others do not, and windows that are too short."""

import time
from typing import Any

import httpx
import pytest

from tests.attacks.world import World, challenge_of, closed, new_body, opened
from tests.support.wallets import Wallet, b64

BAD_NUMBERS = [
    "1_0000",
    "+1",
    "-1",
    " 1",
    "1 ",
    "1\n",
    "01",
    "1.0",
    "1e3",
    "0x10",
    "",
    "\uff11\uff12",
    "\u0661",
    "\u00b2",
    "NaN",
    "Infinity",
    str(2**256),
    "9" * 78,
    "9" * 5_000,
    "\ud800",
    1,
    1.5,
    True,
    None,
    [],
    {},
]


@pytest.mark.parametrize("field", ["value", "validAfter", "validBefore"])
def test_a_number_that_is_no_plain_decimal_string_is_malformed(
    world: World, broker: httpx.Client, wallet: Wallet, field: str
) -> None:
    body = new_body()
    paid = opened(wallet.pay_v1(challenge_of(broker, body)))
    for number in BAD_NUMBERS:
        paid["payload"]["authorization"][field] = number
        answer = broker.post("/run", json=body, headers=closed(paid))
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_payment"), ascii(number)
    world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize("version", [1, 2])
def test_a_number_with_leading_zeros_is_not_the_price_in_other_clothes(
    world: World, broker: httpx.Client, wallet: Wallet, version: int
) -> None:
    body = new_body()
    challenge = challenge_of(broker, body)
    paid = opened(wallet.pay_v1(challenge) if version == 1 else wallet.pay_v2(challenge))
    auth = paid["payload"]["authorization"]
    auth["value"] = "000" + auth["value"]
    assert broker.post("/run", json=body, headers=closed(paid)).status_code == 400
    world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize("x402_version", [0, 2, 3, -1, "1", None, True, [1], 10**40, 1.5])
def test_a_protocol_version_that_is_not_the_headers_is_malformed(
    world: World, broker: httpx.Client, wallet: Wallet, x402_version: Any
) -> None:
    body = new_body()
    wrong = {**opened(wallet.pay_v1(challenge_of(broker, body))), "x402Version": x402_version}
    answer = broker.post("/run", json=body, headers={"X-PAYMENT": b64(wrong)})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_payment")
    world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize(
    "nonce",
    [
        "0x",
        "0x00",
        "0x" + "0" * 63,
        "0x" + "0" * 65,
        "0x" + "g" * 64,
        "0" * 66,
        0,
        None,
        "\uff10x" + "0" * 64,
    ],
)
def test_a_nonce_that_is_not_32_bytes_is_malformed(
    world: World, broker: httpx.Client, wallet: Wallet, nonce: Any
) -> None:
    body = new_body()
    paid = opened(wallet.pay_v1(challenge_of(broker, body)))
    paid["payload"]["authorization"]["nonce"] = nonce
    answer = broker.post("/run", json=body, headers=closed(paid))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_payment")
    world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize("seconds", [-1, 0, 5, 30])
def test_a_window_that_closes_before_the_job_could_be_settled_is_refused_before_the_run(
    world: World, broker: httpx.Client, wallet: Wallet, seconds: int
) -> None:
    body = new_body(timeout=5)
    headers = wallet.pay_v1(challenge_of(broker, body), validBefore=str(int(time.time()) + seconds))
    answer = broker.post("/run", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (402, "authorization_expires_too_soon")
    world.assert_nothing_sold(wallet, body)


def test_a_window_that_is_not_open_yet_is_refused_before_the_run(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers = wallet.pay_v2(challenge_of(broker, body), validAfter=str(int(time.time()) + 60))
    answer = broker.post("/run", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (402, "authorization_not_yet_valid")
    world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize("end", [2**63, 2**64 - 1, 2**256 - 1])
def test_a_window_that_never_closes_breaks_no_column(
    world: World, broker: httpx.Client, wallet: Wallet, end: int
) -> None:
    body = new_body()
    headers = wallet.pay_v1(challenge_of(broker, body), validBefore=str(end))
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    world.assert_sold_once(wallet, body)


def test_a_value_of_256_bits_breaks_no_column(world: World, broker: httpx.Client, wallet: Wallet) -> None:
    body = new_body()
    headers = wallet.pay_v1(challenge_of(broker, body), value=str(2**256 - 1))
    assert broker.post("/run", json=body, headers=headers).status_code in {400, 402}
    world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize(
    "field",
    [
        '"timeout": NaN',
        '"timeout": 1e999',
        '"timeout": -1',
        '"timeout": 61',
        '"timeout": 0',
        '"maxCostUsd": "NaN"',
        '"maxCostUsd": -1',
        '"maxCostUsd": 1e400',
        '"maxCostUsd": "1e-999999999"',
        '"timeout": ' + "9" * 5_000,
    ],
    ids=lambda field: field[:28],
)
def test_bad_numbers_in_the_body_are_refused_before_any_price(
    world: World, broker: httpx.Client, wallet: Wallet, field: str
) -> None:
    content = '{"code": "print(1)", ' + field + "}"
    answer = broker.post("/run", content=content.encode(), headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text
    assert "PAYMENT-REQUIRED" not in answer.headers
