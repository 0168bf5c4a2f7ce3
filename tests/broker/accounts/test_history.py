"""Listing payments: one's own only, newest first, through cursors that cannot be forged."""

import hashlib
import json
from typing import Any

import pytest
from eth_account import Account
from sqlalchemy import insert

from broker.accounts.history import History
from broker.accounts.receipt_key import ReceiptKey
from broker.accounts.schemas import PaymentPage
from broker.tables import refunds
from shared.database import Database
from shared.errors import BadRequest
from shared.networks import Network
from shared.receipts import verify_receipt
from tests.broker.accounts.conftest import ALICE, BASE, BOB, write_payment


@pytest.fixture
def key() -> ReceiptKey:
    return ReceiptKey(Account.create())


@pytest.fixture
def history(database: Database, network: Network, key: ReceiptKey) -> History:
    return History(database, network, key)


async def page(history: History, payer: str | None, **ask: Any) -> PaymentPage:
    return await history.page(payer, **{"limit": 20, "cursor": None, "state": None, "broker": BASE, **ask})


async def test_a_payer_sees_its_own_and_the_operator_all_newest_first(
    history: History, database: Database
) -> None:
    old = await write_payment(database, ALICE, at_ms=1000)
    bobs = await write_payment(database, BOB, at_ms=2000)
    new = await write_payment(database, ALICE, at_ms=3000)
    assert [row.id for row in (await page(history, ALICE)).payments] == [new, old]
    assert [row.id for row in (await page(history, BOB)).payments] == [bobs]
    assert [row.id for row in (await page(history, None)).payments] == [new, bobs, old]
    assert await history.one(ALICE, bobs, BASE) is None
    seen = await history.one(BOB, bobs, BASE)
    assert seen is not None
    assert await history.one(None, bobs, BASE) == seen


async def test_pages_join_without_gap_or_overlap_when_times_are_equal_and_rows_arrive(
    history: History, database: Database
) -> None:
    wanted = {await write_payment(database, ALICE, at_ms=1000 + number // 3) for number in range(11)}
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(6):
        got = await page(history, ALICE, limit=2, cursor=cursor)
        seen += [row.id for row in got.payments]
        cursor = got.nextCursor
        await write_payment(database, ALICE, at_ms=9000)  # newer ones do not shift what follows
        if cursor is None:
            break
    assert cursor is None
    assert len(seen) == 11
    assert set(seen) == wanted


async def test_a_state_can_be_asked_for(history: History, database: Database) -> None:
    await write_payment(database, ALICE, at_ms=1)
    refused = await write_payment(database, ALICE, at_ms=2, state="rejected", transaction_hash=None)
    assert [row.id for row in (await page(history, ALICE, state="rejected")).payments] == [refused]
    assert (await page(history, ALICE, state="unknown")).payments == []


async def test_a_cursor_works_for_its_own_listing_only(history: History, database: Database) -> None:
    for number in range(3):
        await write_payment(database, ALICE, at_ms=number)
        await write_payment(database, BOB, at_ms=number)
    cursor = (await page(history, ALICE, limit=1)).nextCursor
    assert cursor is not None
    assert len((await page(history, ALICE, cursor=cursor)).payments) == 2
    for payer, state in ((BOB, None), (None, None), (ALICE, "settled")):
        with pytest.raises(BadRequest, match="cursor"):
            await page(history, payer, cursor=cursor, state=state)


async def test_every_changed_character_of_a_cursor_is_noticed(history: History, database: Database) -> None:
    for number in range(2):
        await write_payment(database, ALICE, at_ms=number)
    cursor = (await page(history, ALICE, limit=1)).nextCursor
    assert cursor is not None
    for place, letter in enumerate(cursor):
        changed = cursor[:place] + ("A" if letter != "A" else "B") + cursor[place + 1 :]
        with pytest.raises(BadRequest, match="cursor"):
            await page(history, ALICE, cursor=changed)


@pytest.mark.parametrize(
    "cursor", ["", "A", "A" * 48, "' OR 1=1 --", "é" * 48, "A" * 47 + "=", "\x00" * 48, "A" * 200]
)
async def test_a_cursor_that_we_did_not_write_is_a_bad_request(history: History, cursor: str) -> None:
    with pytest.raises(BadRequest, match="cursor"):
        await page(history, ALICE, cursor=cursor)


async def test_another_brokers_secret_does_not_open_a_cursor(
    history: History, database: Database, network: Network
) -> None:
    for number in range(2):
        await write_payment(database, ALICE, at_ms=number)
    cursor = (await page(history, ALICE, limit=1)).nextCursor
    stranger = History(database, network, ReceiptKey(Account.create()))
    with pytest.raises(BadRequest):
        await page(stranger, ALICE, cursor=cursor)


async def test_a_settled_payment_has_a_receipt_of_its_request_result_and_transaction(
    history: History, database: Database, key: ReceiptKey
) -> None:
    await write_payment(database, ALICE, at_ms=1_800_000_000_000)
    [row] = (await page(history, ALICE)).payments
    assert row.receipt is not None
    receipt = row.receipt.model_dump()
    assert verify_receipt(receipt, key.address)
    assert receipt["requestHash"] == row.requestHash == "ab" * 32
    assert receipt["resultHash"] == "cd" * 32
    assert receipt["transaction"] == row.transaction == "0x" + "12" * 32
    assert receipt["payer"].lower() == ALICE
    assert (receipt["amount"], row.amountUsd) == ("5800", "0.0058")
    assert (receipt["broker"], receipt["network"]) == (BASE, "eip155:84532")
    assert receipt["settledAt"] == row.updatedAt == "2027-01-15T08:00:00.500Z"


async def test_without_a_kept_hash_the_text_of_the_result_is_hashed(
    history: History, database: Database
) -> None:
    text = json.dumps({"result": "ü"}, ensure_ascii=False)
    await write_payment(database, ALICE, at_ms=1, job={"response_hash": None, "response": text})
    [row] = (await page(history, ALICE)).payments
    assert row.receipt is not None
    assert row.receipt.resultHash == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("state", ["reserved", "running", "ran", "settling", "voided", "rejected", "unknown"])
async def test_what_is_not_settled_has_no_receipt(history: History, database: Database, state: str) -> None:
    await write_payment(database, ALICE, at_ms=1, state=state)
    [row] = (await page(history, ALICE)).payments
    assert row.state == state
    assert row.receipt is None


async def test_paid_without_a_result_there_is_a_refund_and_no_receipt(
    history: History, database: Database
) -> None:
    id_ = await write_payment(database, ALICE, at_ms=1, job={"response": None, "response_hash": None})
    owed = insert(refunds).values(
        payment_id=id_,
        job_id="job",
        payer=ALICE,
        amount_atomic=5800,
        state="owed",
        reason="provider_failed",
        created_at=1,
        updated_at=1,
    )
    await database.write(lambda connection: connection.execute(owed))
    row = await history.one(ALICE, id_, BASE)
    assert row is not None
    assert row.receipt is None
    assert row.refund is not None
    assert row.refund.model_dump() == {
        "state": "owed",
        "amountAtomic": "5800",
        "amountUsd": "0.0058",
        "reason": "provider_failed",
        "transaction": None,
    }


async def test_a_payment_on_a_network_of_earlier_days_says_which(
    history: History, database: Database
) -> None:
    await write_payment(database, ALICE, at_ms=1, chain_id=8453)
    await write_payment(database, ALICE, at_ms=2)
    assert [row.network for row in (await page(history, ALICE)).payments] == ["base-sepolia", "eip155:8453"]
