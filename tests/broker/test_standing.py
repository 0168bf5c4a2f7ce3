"""What `/metrics` tells of the ledger: counted right, and without reading what has ended."""

from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import sqlite

from broker.payments.ledger import Ledger
from broker.payments.offers import Offer
from broker.payments.readings import OPEN_PAYMENTS
from broker.payments.records import PaymentRow, Standing
from shared.database import Database
from tests.broker.test_ledger import AUTH, JOB, KEPT, OFFER, TX

AHEAD = replace(OFFER, quote={"settle": "before"})


async def claimed(ledger: Ledger, number: int, offer: Offer = OFFER) -> PaymentRow:
    """A reservation of a payer of its own."""
    auth = replace(AUTH, payer=f"0x{number:040x}")
    claim = await ledger.reserve(auth, 1, replace(JOB, offer=offer, request_hash=f"hash {number}"), {})
    assert claim is not None
    return claim.payment


async def test_open_payments_are_counted_by_state_and_what_is_owed_is_summed(ledger: Ledger) -> None:
    assert await ledger.standing() == Standing({}, 0)
    await claimed(ledger, 1)
    await ledger.start(await claimed(ledger, 2))
    await ledger.start(await claimed(ledger, 3))
    unclear = await ledger.settling(await claimed(ledger, 4, AHEAD))
    await ledger.unknown(unclear, "lost", 1000)
    await ledger.void(await claimed(ledger, 5), "refused")
    for number in (6, 7):
        paid = await ledger.settled(await ledger.settling(await claimed(ledger, number, AHEAD)), TX)
        await ledger.owe_refund(paid, "provider_failed")
    assert await ledger.standing() == Standing({"reserved": 1, "running": 2, "unknown": 1}, 2 * 5800)


async def test_events_and_revenue_are_counted_once_whichever_comes_first(ledger: Ledger) -> None:
    after = await ledger.start(await claimed(ledger, 1))
    await ledger.settled(await ledger.keep_result(after, KEPT), TX)
    assert ledger.settled_atomic == 5800
    before = await ledger.settled(await ledger.settling(await claimed(ledger, 2, AHEAD)), TX)
    assert ledger.settled_atomic == 2 * 5800
    await ledger.keep_result(before, KEPT)
    await ledger.void(await claimed(ledger, 3), "refused")
    assert ledger.settled_atomic == 2 * 5800
    assert ledger.events == Counter(reserved=3, running=2, settling=2, settled=2, voided=1)
    failed = await ledger.settled(await ledger.settling(await claimed(ledger, 4, AHEAD)), TX)
    await ledger.owe_refund(failed, "provider_failed")
    assert ledger.events["refund_owed"] == 1
    assert ledger.settled_atomic == 3 * 5800  # it moved; what is owed for it is another figure


async def test_a_claim_that_somebody_else_has_is_no_event(ledger: Ledger) -> None:
    await claimed(ledger, 1)
    assert await ledger.reserve(replace(AUTH, payer=f"0x{1:040x}"), 1, JOB, {}) is None
    assert ledger.events == Counter(reserved=1)


async def test_what_has_ended_is_not_read(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("Postgres reads a table this small from end to end, whatever indexes it has")
    statement = str(OPEN_PAYMENTS.compile(dialect=sqlite.dialect()))
    plan = await database.read(
        lambda connection: [str(row) for row in connection.execute(text(f"EXPLAIN QUERY PLAN {statement}"))]
    )
    assert any("SEARCH payments USING COVERING INDEX payments_by_state" in row for row in plan), plan
