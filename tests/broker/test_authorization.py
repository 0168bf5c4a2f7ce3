"""Payment headers are read strictly: exactly right, or a 400."""

import base64
import json
from typing import Any

import pytest

from broker.payments.authorization import read_payment
from shared.errors import GalaksioError
from tests.support.wallets import b64

AUTHORIZATION = {
    "from": "0x" + "aB" * 20,
    "to": "0x" + "22" * 20,
    "value": "5800",
    "validAfter": "0",
    "validBefore": "1800000250",
    "nonce": "0x" + "Cd" * 32,
}
SIGNATURE = "0x" + "11" * 64 + "1b"
V1: dict[str, Any] = {
    "x402Version": 1,
    "scheme": "exact",
    "network": "base-sepolia",
    "payload": {"signature": SIGNATURE, "authorization": AUTHORIZATION},
}
V2: dict[str, Any] = {
    "x402Version": 2,
    "accepted": {"scheme": "exact", "network": "eip155:84532"},
    "payload": V1["payload"],
}


def v1(value: Any) -> list[tuple[bytes, bytes]]:
    return [(b"x-payment", b64(value).encode())]


def v2(value: Any) -> list[tuple[bytes, bytes]]:
    return [(b"payment-signature", b64(value).encode())]


def changed(**fields: Any) -> dict[str, Any]:
    return {**V1, "payload": {"signature": SIGNATURE, "authorization": {**AUTHORIZATION, **fields}}}


def test_no_header_is_no_payment() -> None:
    assert read_payment([(b"content-type", b"application/json")]) is None


def test_v1_and_v2_carry_the_same_authorization_in_lower_case() -> None:
    first, second = read_payment(v1(V1)), read_payment(v2(V2))
    assert first is not None
    assert second is not None
    assert first.authorization == second.authorization
    assert first.authorization.payer == "0x" + "ab" * 20
    assert first.authorization.nonce == "0x" + "cd" * 32
    assert (first.version, second.version) == (1, 2)


def test_v1_may_be_raw_json_but_v2_may_not() -> None:
    assert read_payment([(b"x-payment", json.dumps(V1).encode())]) is not None
    with pytest.raises(GalaksioError):
        read_payment([(b"payment-signature", json.dumps(V2).encode())])


@pytest.mark.parametrize(
    "value", ["1_0000", "+1", "-1", "1.0", "0x10", "١٢", " 1", "01", "", "9" * 79, 5800, None, True]
)
def test_a_value_that_is_not_a_plain_decimal_string_is_refused(value: Any) -> None:
    for field in ("value", "validAfter", "validBefore"):
        with pytest.raises(GalaksioError) as caught:
            read_payment(v1(changed(**{field: value})))
        assert (caught.value.status, caught.value.code) == (400, "invalid_payment")


@pytest.mark.parametrize(
    "nonce", ["0x" + "ab" * 31, "ab" * 32, "0x" + "zz" * 32, "0X" + "ab" * 32, "0x" + "ab" * 33, None, 7]
)
def test_a_nonce_that_is_not_32_bytes_of_hex_is_refused(nonce: Any) -> None:
    with pytest.raises(GalaksioError) as caught:
        read_payment(v1(changed(nonce=nonce)))
    assert caught.value.status == 400


@pytest.mark.parametrize("address", ["0x" + "ab" * 19, "ab" * 20, "vitalik.eth", None])
def test_an_address_that_is_not_20_bytes_of_hex_is_refused(address: Any) -> None:
    for field in ("from", "to"):
        with pytest.raises(GalaksioError):
            read_payment(v1(changed(**{field: address})))


@pytest.mark.parametrize(
    "envelope",
    [
        {**V1, "x402Version": 3},
        {**V1, "x402Version": 2},
        {**V1, "x402Version": True},
        {**V1, "x402Version": "1"},
        {**V1, "payload": None},
        {**V1, "payload": {"signature": SIGNATURE}},
        {**V1, "payload": {"authorization": AUTHORIZATION}},
        {**V1, "scheme": ""},
        {**V1, "network": 5},
        [],
        "text",
        None,
    ],
)
def test_a_wrong_envelope_is_refused(envelope: Any) -> None:
    with pytest.raises(GalaksioError) as caught:
        read_payment(v1(envelope))
    assert caught.value.status == 400


def test_deeply_nested_json_is_a_400_and_not_a_crash() -> None:
    bomb = base64.b64encode(b"[" * 6000)
    with pytest.raises(GalaksioError) as caught:
        read_payment([(b"x-payment", bomb)])
    assert caught.value.status == 400


def test_two_payment_headers_are_refused() -> None:
    for headers in (v1(V1) + v2(V2), v1(V1) + v1(V1), v2(V2) + v2(V2)):
        with pytest.raises(GalaksioError, match="exactly one"):
            read_payment(headers)


def test_a_header_over_16_kb_is_a_431() -> None:
    with pytest.raises(GalaksioError) as caught:
        read_payment([(b"x-payment", b"A" * (16 * 1024 + 1))])
    assert caught.value.status == 431


def test_permit2_and_contract_wallet_signatures_are_refused_with_a_reason() -> None:
    permit2 = {**V1, "payload": {"signature": SIGNATURE, "permit2Authorization": {}}}
    with pytest.raises(GalaksioError) as caught:
        read_payment(v1(permit2))
    assert caught.value.code == "permit2_refused"
    contract = {**V1, "payload": {"signature": "0x" + "11" * 200, "authorization": AUTHORIZATION}}
    with pytest.raises(GalaksioError) as caught:
        read_payment(v1(contract))
    assert caught.value.code == "contract_signature_refused"
