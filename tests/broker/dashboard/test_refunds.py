"""Marking refunds as paid: once each, never one transfer for two, and what the chain says counts."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, select

from broker.dashboard.refunds import NoSuchRefund, NotPaid, PaidOtherwise, Refunds
from broker.payments.chain import Chain
from broker.tables import refunds
from shared.database import Database
from shared.errors import Unavailable
from shared.networks import Network
from tests.broker.accounts.conftest import ALICE, BOB, write_payment
from tests.broker.conftest import FakeClock
from tests.support.ports import free_port

HASH, OTHER = "0x" + "5a" * 32, "0x" + "5b" * 32


class Moved(Chain):
    """A chain on which each transaction moved what `moved` says, to whom it says."""

    def __init__(self, moved: dict[tuple[str, str], int]) -> None:
        self.moved = moved

    async def moved_to(self, receiver: str, transaction_hash: str) -> int | None:
        if not any(known == transaction_hash for known, _ in self.moved):
            return None
        return self.moved.get((transaction_hash, receiver), 0)


Opened = Callable[[Chain | None], Refunds]


@pytest.fixture
def opened(database: Database, network: Network, clock: FakeClock) -> Opened:
    return lambda chain: Refunds(database, network, chain, clock)


async def owe(database: Database, payer: str, amount: int, **payment: Any) -> str:
    payment_id = await write_payment(database, payer, at_ms=1, amount_atomic=amount, **payment)
    row = {"payment_id": payment_id, "job_id": "job", "payer": payer, "amount_atomic": amount}
    row |= {"state": "owed", "reason": "provider_failed", "created_at": 1, "updated_at": 1}
    await database.write(lambda connection: connection.execute(insert(refunds).values(row)))
    return payment_id


async def state(database: Database, payment_id: str) -> tuple[str, str | None]:
    query = select(refunds.c.state, refunds.c.transaction_hash).where(refunds.c.payment_id == payment_id)
    row = await database.read(lambda connection: connection.execute(query).one())
    return row[0], row[1]


async def test_what_the_chain_confirms_is_paid_and_the_same_again_changes_nothing(
    database: Database, opened: Opened
) -> None:
    owed = await owe(database, ALICE, 500)
    desk = opened(Moved({(HASH, ALICE): 500}))
    first = await desk.paid(owed, HASH.upper().replace("0X", "0x"))
    assert (first.verified, first.warning, first.transaction, first.amountUsd) == (True, None, HASH, "0.0005")
    assert await desk.paid(owed, HASH) == first
    assert await state(database, owed) == ("paid", HASH)


async def test_a_refund_that_is_paid_is_not_paid_by_another_transaction(
    database: Database, opened: Opened
) -> None:
    owed = await owe(database, ALICE, 500)
    desk = opened(Moved({(HASH, ALICE): 500, (OTHER, ALICE): 500}))
    await desk.paid(owed, HASH)
    with pytest.raises(PaidOtherwise):
        await desk.paid(owed, OTHER)
    assert await state(database, owed) == ("paid", HASH)


@pytest.mark.parametrize(
    "moved",
    [{}, {(HASH, ALICE): 499}, {(HASH, BOB): 500}, {(OTHER, ALICE): 500}],
    ids=["no transaction", "too little", "to another", "another transaction"],
)
async def test_what_the_chain_does_not_confirm_stays_owed(
    database: Database, opened: Opened, moved: dict[tuple[str, str], int]
) -> None:
    owed = await owe(database, ALICE, 500)
    with pytest.raises(NotPaid):
        await opened(Moved(moved)).paid(owed, HASH)
    assert await state(database, owed) == ("owed", None)


async def test_one_transfer_pays_two_refunds_only_when_it_moved_enough_for_both(
    database: Database, opened: Opened
) -> None:
    first, second = await owe(database, ALICE, 500), await owe(database, ALICE, 300)
    strangers = await owe(database, BOB, 300)
    chain = Moved({(HASH, ALICE): 799, (HASH, BOB): 300})
    desk = opened(chain)
    found = await asyncio.gather(desk.paid(first, HASH), desk.paid(second, HASH), return_exceptions=True)
    assert [type(one) for one in found].count(NotPaid) == 1
    await desk.paid(strangers, HASH)
    chain.moved[HASH, ALICE] = 800
    for owed in (first, second):
        assert (await desk.paid(owed, HASH)).verified


async def test_where_no_chain_can_be_asked_the_operators_word_is_taken_with_a_warning(
    database: Database, opened: Opened
) -> None:
    here, elsewhere = await owe(database, ALICE, 500), await owe(database, ALICE, 500, chain_id=8453)
    told = await opened(None).paid(here, HASH)
    assert not told.verified
    assert "CHAIN_RPC_URL" in (told.warning or "")
    told = await opened(Moved({})).paid(elsewhere, HASH)
    assert not told.verified
    assert "eip155:8453" in (told.warning or "")
    assert [(await state(database, owed))[0] for owed in (here, elsewhere)] == ["paid", "paid"]


async def test_a_chain_that_does_not_answer_confirms_nothing(
    database: Database, opened: Opened, network: Network
) -> None:
    owed = await owe(database, ALICE, 500)
    chain = Chain(f"http://127.0.0.1:{free_port()}", network)
    try:
        with pytest.raises(Unavailable):
            await opened(chain).paid(owed, HASH)
    finally:
        await chain.close()
    assert await state(database, owed) == ("owed", None)


async def test_nothing_is_owed_for_an_unknown_payment(opened: Opened) -> None:
    with pytest.raises(NoSuchRefund):
        await opened(None).paid("no-such-payment", HASH)
