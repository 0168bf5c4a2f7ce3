"""Receipts: a third party can check them, and nobody can change them."""

import asyncio
from typing import Any

import pytest
from eth_account import Account

from broker.accounts.receipt_key import ReceiptKey, receipt_key
from shared.database import Database
from shared.receipts import TYPES, published_key, verify_receipt
from tests.broker.conftest import FakeClock

RECEIPT: dict[str, Any] = {
    "version": 1,
    "broker": "https://broker.test",
    "network": "eip155:84532",
    "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
    "payTo": "0x" + "bb" * 20,
    "payer": "0x" + "aa" * 20,
    "amount": "5800",
    "transaction": "0x" + "12" * 32,
    "requestHash": "ab" * 32,
    "resultHash": "cd" * 32,
    "jobId": "5f0c2a3e-0000-4000-8000-000000000001",
    "settledAt": "2027-01-15T08:00:00.000Z",
}


@pytest.fixture
def key() -> ReceiptKey:
    return ReceiptKey(Account.create())


def test_a_signed_receipt_checks_out_against_its_key_alone(key: ReceiptKey) -> None:
    signed = key.sign(RECEIPT)
    assert verify_receipt(signed, key.address)
    assert verify_receipt(signed, key.address.lower())
    assert not verify_receipt(signed, Account.create().address)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("version", "1"),
        ("version", True),
        ("broker", "https://evil.test"),
        ("network", "eip155:8453"),
        ("network", "base-sepolia"),
        ("asset", "0x" + "99" * 20),
        ("payTo", "0x" + "99" * 20),
        ("payer", "0x" + "99" * 20),
        ("amount", "5801"),
        ("amount", 5800),
        ("amount", "05800"),
        ("amount", "5_800"),
        ("amount", "0x16a8"),
        ("transaction", "0x" + "13" * 32),
        ("requestHash", "ac" * 32),
        ("resultHash", "ce" * 32),
        ("resultHash", None),
        ("jobId", "another"),
        ("settledAt", "2027-01-15T08:00:00.001Z"),
        ("signature", "0x" + "00" * 65),
        ("signature", "0x"),
        ("signature", None),
        ("extra", "unsigned"),
    ],
)
def test_a_receipt_with_one_changed_field_is_not_valid(key: ReceiptKey, field: str, value: Any) -> None:
    assert verify_receipt({**key.sign(RECEIPT), field: value}, key.address) is False


@pytest.mark.parametrize("field", [*RECEIPT, "signature"])
def test_a_receipt_with_a_missing_field_is_not_valid(key: ReceiptKey, field: str) -> None:
    signed = key.sign(RECEIPT)
    del signed[field]
    assert verify_receipt(signed, key.address) is False


def test_any_eip_712_library_can_check_it_with_what_is_published(key: ReceiptKey) -> None:
    """The receipt's fields go into the typed data as they are."""
    signed, published = key.sign(RECEIPT), published_key(key.address, 84532)
    typed = {
        "domain": published["domain"],
        "primaryType": published["primaryType"],
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
            ],
            **published["types"],
        },
        "message": {name: value for name, value in signed.items() if name != "signature"},
    }
    from eth_account.messages import encode_typed_data

    signer = Account.recover_message(encode_typed_data(full_message=typed), signature=signed["signature"])
    assert signer == published["address"]


def test_every_field_is_signed() -> None:
    assert [field["name"] for field in TYPES["Receipt"]] == list(RECEIPT)


def test_an_incomplete_receipt_is_not_signed(key: ReceiptKey) -> None:
    with pytest.raises(ValueError, match="receipt"):
        key.sign({**RECEIPT, "resultHash": None})


async def test_brokers_that_start_at_once_share_one_key(database: Database, clock: FakeClock) -> None:
    others = [Database(database.url) for _ in range(4)]
    keys = await asyncio.gather(*(receipt_key(each, clock) for each in [database, *others] * 3))
    assert len({key.address for key in keys}) == 1
    assert (await receipt_key(database, clock)).address == keys[0].address
    for each in others:
        await each.close()
