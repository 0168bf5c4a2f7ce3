"""Which sign-in texts are signed: the broker's own for this wallet, and nothing else."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from galaksio import TermsRefused
from galaksio.sign_in import check_sign_in
from shared.sign_in import SignInMessage

URL = "https://broker.test"
NOW = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
ADDRESS = "0x" + "Aa" * 20
GOOD = SignInMessage(
    domain="broker.test",
    address=ADDRESS,
    uri=URL,
    chain_id=84532,
    nonce="0123456789abcdef",
    issued_at="2027-01-15T07:59:59.000Z",
    expiration_time="2027-01-15T08:05:00.000Z",
)


def check(text: str, url: str = URL) -> SignInMessage:
    return check_sign_in(text, url=url, address=ADDRESS, chain_id=84532, now=NOW)


def test_the_brokers_own_sign_in_may_be_signed() -> None:
    assert check(GOOD.text()) == GOOD


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("http://localhost:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://127.0.0.1:8080"),
        ("https://broker.test:443", "https://broker.test"),
        ("https://Broker.Test", "https://broker.test"),
    ],
)
def test_two_spellings_of_one_address_are_one(ours: str, theirs: str) -> None:
    authority = theirs.split("://")[1]
    assert check(replace(GOOD, domain=authority, uri=theirs).text(), url=ours)


def test_a_broker_below_a_path_has_the_hosts_domain() -> None:
    below = replace(GOOD, uri=f"{URL}/galaksio").text()
    assert check(below, url=f"{URL}/galaksio")
    with pytest.raises(TermsRefused, match="not for"):
        check(below)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"domain": "bank.test"}, "not for"),
        ({"uri": "https://bank.test"}, "not for"),
        ({"uri": "http://broker.test"}, "not for"),
        ({"uri": "https://broker.test:8443"}, "not for"),
        ({"uri": "https://broker.test/elsewhere"}, "not for"),
        ({"uri": "https://broker.test@bank.test"}, "not for"),
        ({"uri": "https://broker.test?next=bank.test"}, "not for"),
        ({"uri": "https://me@broker.test"}, "not for"),
        ({"domain": "broker.test.bank.test"}, "not for"),
        ({"domain": "broker.test:99999"}, "not for"),
        ({"domain": "127.0.0.1", "uri": "https://127.0.0.1"}, "not for"),
        ({"address": "0x" + "11" * 20}, "another wallet"),
        ({"chain_id": 8453}, "another network"),
        ({"statement": "I sell everything I own."}, "another statement"),
        ({"expiration_time": "2027-01-15T07:59:59.500Z"}, "another expiry"),
        ({"expiration_time": "2037-01-15T08:00:00.000Z"}, "another expiry"),
        ({"expiration_time": "2027-01-15T08:05:00.000"}, "not an EIP-4361"),
        ({"expiration_time": "2027-99-15T08:05:00.000Z"}, "not an EIP-4361"),
    ],
)
def test_any_other_sign_in_is_not_signed(change: dict[str, Any], said: str) -> None:
    with pytest.raises(TermsRefused, match=said) as caught:
        check(replace(GOOD, **change).text())
    assert str(caught.value).startswith("Nothing was signed")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x" + "11" * 32,
        "I owe you 5 dollars",
        GOOD.text() + "\n\nAnd: more",
        GOOD.text() + "\nNot Before: x",
    ],
)
def test_text_that_is_no_sign_in_is_not_signed(text: str) -> None:
    with pytest.raises(TermsRefused, match="Nothing was signed"):
        check(text)
