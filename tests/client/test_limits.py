"""What is never signed: too much, for another network, asset or recipient, or for longer than an hour."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from galaksio import Client, NotPaid, PaymentRefused, Price, PriceTooHigh, TermsRefused
from galaksio.prices import limit_atomic
from tests.client.broker import (
    HOST,
    KEY,
    NETWORK,
    THIEF,
    async_client_of,
    broker_that,
    client_of,
    priced,
    refused,
    sells,
)


def test_what_costs_the_cap_is_paid_and_an_atomic_unit_more_is_not() -> None:
    with broker_that(sells()) as broker, client_of(broker, max_cost_usd="0.01") as client:
        assert client.run("1").price_usd == Decimal("0.01")
        broker.script = sells(priced(10_001))
        with pytest.raises(PriceTooHigh, match=r"\$0\.010001 is over your cap of \$0\.01 ") as caught:
            client.run("1")
        assert (caught.value.limit_usd, caught.value.of_budget) == (Decimal("0.01"), False)
        assert len(broker.signed) == 1
        assert client.run("1", max_cost_usd="0.010001").exit_code == 0


@pytest.mark.parametrize(("limit", "atomic"), [("0.0000019", 1), ("0.0000001", 0), (2, 2_000_000), ("0", 0)])
def test_a_limit_is_rounded_down(limit: str | int, atomic: int) -> None:
    assert limit_atomic(limit) == atomic


@pytest.mark.parametrize("limit", [0.1, "-1", "NaN", "much", True])
def test_what_is_no_amount_is_no_limit(limit: Any) -> None:
    for options in ({"max_cost_usd": limit}, {"budget_usd": limit}):
        with pytest.raises(ValueError, match="amount"):
            Client(KEY, **options)
    with Client(KEY) as client, pytest.raises(ValueError, match="amount"):
        client.run("1", max_cost_usd=limit)


def test_the_budget_is_for_all_calls_together() -> None:
    with broker_that(sells()) as broker, client_of(broker, budget_usd="0.025") as client:
        client.run("1")
        client.run("1")
        with pytest.raises(PriceTooHigh, match=r"the \$0\.005 that are left of your budget") as caught:
            client.run("1", max_cost_usd="5")
        assert caught.value.of_budget
        assert (len(broker.signed), client.signed_usd) == (2, Decimal("0.02"))


async def test_calls_at_once_do_not_outrun_the_budget() -> None:
    with broker_that(sells()) as broker:
        async with async_client_of(broker, budget_usd="0.03") as client:
            done = await asyncio.gather(*(client.run("1") for _ in range(12)), return_exceptions=True)
    assert sum(isinstance(one, PriceTooHigh) for one in done) == 9
    assert len(broker.signed) == 3


def test_a_payment_that_was_not_taken_still_counts() -> None:
    """Whoever has the signature may cash it after all."""
    with broker_that(lambda *_: priced()) as broker, client_of(broker, budget_usd="0.015") as client:
        with pytest.raises(PaymentRefused):
            client.run("1")
        with pytest.raises(PriceTooHigh, match="budget"):
            client.run("1")
        assert len(broker.signed) == 1


def test_a_price_that_is_turned_down_is_not_signed_and_not_counted() -> None:
    seen: list[Price] = []

    def answer(price: Price) -> bool:
        seen.append(price)
        return len(seen) > 1

    with broker_that(sells()) as broker, client_of(broker, on_price=answer, budget_usd="0.01") as client:
        with pytest.raises(NotPaid, match="turned down"):
            client.run("1")
        assert broker.payments == [None]
        assert client.run("1").stdout == "done\n"
    assert seen == [Price(10_000, "base-sepolia", HOST)] * 2


def test_a_hook_that_fails_signs_nothing() -> None:
    def fails(_: Price) -> None:
        raise RuntimeError("no")

    with broker_that(sells()) as broker, client_of(broker, on_price=fails) as client:
        with pytest.raises(RuntimeError):
            client.run("1")
        assert (broker.payments, client.signed_usd) == ([None], 0)


EXTRA = {"name": NETWORK.domain_name, "version": NETWORK.domain_version}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": "eip155:8453", "asset": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"}, "eip155:8453"),
        ({"network": "eip155:1", "asset": THIEF}, "cannot be paid"),
        ({"asset": THIEF}, "cannot be paid"),
        ({"scheme": "upto"}, "cannot be paid"),
        ({"amount": "0"}, "cannot be paid"),
        ({"amount": "-5"}, "cannot be paid"),
        ({"amount": "1e3"}, "cannot be paid"),
        ({"amount": 10}, "cannot be paid"),
        ({"payTo": "me"}, "cannot be paid"),
        ({"extra": {**EXTRA, "assetTransferMethod": "permit2"}}, "another kind of payment"),
        ({"extra": {**EXTRA, "name": "My Bank"}}, "under another name"),
        ({"extra": None}, "under another name"),
        ({"maxTimeoutSeconds": 3601}, "good for over 3600 s"),
        ({"maxTimeoutSeconds": 10**12}, "cannot be paid"),
    ],
)
def test_other_terms_are_not_signed(changes: dict[str, Any], said: str) -> None:
    with broker_that(sells(priced(**changes))) as broker, client_of(broker) as client:
        with pytest.raises(TermsRefused, match=said):
            client.run("1")
        assert (broker.payments, client.signed_usd) == ([None], 0)


def test_of_several_ways_to_pay_the_cheapest_of_ours_is_taken() -> None:
    dearer = {
        "scheme": "exact",
        "network": NETWORK.caip2,
        "amount": "50000",
        "payTo": THIEF,
        "maxTimeoutSeconds": 60,
        "asset": NETWORK.asset,
        "extra": EXTRA,
    }
    foreign = {**dearer, "network": "eip155:1", "amount": "1"}
    with broker_that(sells(priced(more=[dearer, foreign]))) as broker, client_of(broker) as client:
        client.run("1")
    [payment] = broker.signed
    assert payment["payload"]["authorization"]["to"].lower() == HOST
    assert payment["payload"]["authorization"]["value"] == "10000"


def test_another_recipient_than_before_is_not_paid() -> None:
    with broker_that(sells()) as broker, client_of(broker) as client:
        client.run("1")
        broker.script = sells(priced(payTo=THIEF))
        with pytest.raises(TermsRefused, match=f"wants {THIEF} to be paid, not {HOST}"):
            client.run("1")
        assert len(broker.signed) == 1


def test_a_recipient_that_is_named_is_the_only_one() -> None:
    with broker_that(sells(priced(payTo=THIEF))) as broker, client_of(broker, pay_to=HOST) as client:
        with pytest.raises(TermsRefused, match="to be paid"):
            client.run("1")
        broker.script = sells(priced(payTo=HOST.upper().replace("0X", "0x")))
        assert client.run("1").exit_code == 0


def test_a_price_that_rose_after_it_was_paid_is_told_and_not_paid_a_second_time() -> None:
    with broker_that(lambda n, _: priced(10_000 + n)) as broker, client_of(broker) as client:
        with pytest.raises(PaymentRefused, match="did not take the payment") as caught:
            client.run("1")
        assert [payment is None for payment in broker.payments] == [True, False]
        assert caught.value.code == "payment_required"
    assert broker.signed[0]["payload"]["authorization"]["value"] == "10000"


def test_without_a_key_what_has_a_price_is_refused() -> None:
    with broker_that(sells()) as broker, Client(base_url=broker.url) as client:
        assert client.address is None
        with pytest.raises(TermsRefused, match="private_key"):
            client.run("1")
        with pytest.raises(TermsRefused, match="private_key"):
            client.payments()
        assert broker.payments == [None]


def test_the_key_is_nowhere_to_be_seen() -> None:
    with broker_that(lambda *_: refused(500, "internal_error")) as broker, client_of(broker) as client:
        wallet = client._client._wallet
        assert KEY[2:] not in repr([client, vars(client), vars(client._client), wallet])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"private_key": "0x12"}, "64 hex digits"),
        ({"private_key": "xy" * 32}, "64 hex digits"),
        ({"private_key": KEY, "network": "atlantis"}, "network=atlantis is not"),
        ({"base_url": "ftp://broker.test"}, "no address of a broker"),
        ({"base_url": "broker.test"}, "no address of a broker"),
        ({"base_url": "http://me:secret@broker.test"}, "no user"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Client(**options)
    assert "xyxy" not in str(caught.value)
