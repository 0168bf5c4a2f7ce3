"""What is kept of an agent's task, over both databases: limits, claims, and what is swept away."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import Select
from sqlalchemy.dialects import sqlite

from broker.a2a import tasks as kept
from broker.a2a.asked import Asked
from broker.a2a.tasks import LATE_MS, PAID_MS, Task, Tasks
from broker.payments.authorization import Authorization
from broker.payments.ledger import Ledger
from broker.payments.offers import Offer, OfferBook
from broker.payments.records import NewJob, PaymentRow
from shared.database import Database
from shared.errors import Unavailable
from shared.networks import Network
from tests.broker.conftest import HOST, FakeClock

ASKED = Asked("run", b'{"code":"print(1)"}')
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"
ONE, OTHER = ("0x" + "1" * 40, "0x" + "a" * 64), ("0x" + "2" * 40, "0x" + "b" * 64)


@pytest.fixture
def tasks(database: Database, network: Network, clock: FakeClock) -> Tasks:
    return Tasks(database, network, clock)


@pytest.fixture
async def offer(offers: OfferBook) -> Offer:
    return await offers.make("ab" * 32, 5800, {"provider": "local", "price_usd": "0.0008"}, 270)


@pytest.fixture
async def task(tasks: Tasks, offer: Offer) -> Task:
    return await tasks.keep(ASKED, "me", offer, HERE)


async def paid(
    ledger: Ledger, offer: Offer, by: tuple[str, str], request_hash: str = "ab" * 32
) -> PaymentRow:
    auth = Authorization(by[0], HOST.lower(), 5800, 0, 2_000_000_000, by[1], "0x")
    new = NewJob("run", request_hash, offer, auth.payer, {}, 1000)
    claimed = await ledger.reserve(auth, 2, new, {}, None)
    assert claimed is not None
    return claimed.payment


async def found(tasks: Tasks, task: Task) -> Task:
    again = await tasks.find(task.id)
    assert again is not None
    return again


async def test_a_task_is_found_as_it_was_kept(tasks: Tasks, task: Task, offer: Offer) -> None:
    assert await tasks.find(task.id) == task
    assert (task.asked, task.label, task.provider) == (ASKED, "me", "local")
    assert (task.expires_at_ms, task.claim, task.job_id) == (offer.expires_at_ms, None, None)


@pytest.mark.parametrize("guess", ["", "x", "0" * 36, "\x00" * 36, "é" * 36, "a" * 100_000, "' OR 1=1 --"])
async def test_an_id_cannot_be_guessed_or_break_the_database(tasks: Tasks, task: Task, guess: str) -> None:
    assert await tasks.find(guess) is None


def holder(task: Task) -> tuple[str, str] | None:
    return None if task.claim is None else (task.claim.payer, task.claim.nonce)


async def test_of_many_authorizations_one_has_the_task(tasks: Tasks, task: Task) -> None:
    claims = await asyncio.gather(*(tasks.claim(task, *who) for who in (ONE, OTHER) * 5))
    (winner,) = {holder(claimed) for claimed in claims}
    loser = OTHER if winner == ONE else ONE
    await tasks.release(task, *loser)
    assert holder(await tasks.claim(task, *loser)) == winner
    await tasks.release(task, *(winner or loser))
    assert holder(await tasks.claim(task, *loser)) == loser


async def test_a_claim_that_pays_is_not_given_up_and_names_the_job(
    tasks: Tasks, task: Task, ledger: Ledger, offer: Offer
) -> None:
    claimed = await tasks.claim(task, *ONE)
    assert claimed.job_id is None
    payment = await paid(ledger, offer, ONE)
    await tasks.release(task, *ONE)
    assert (await found(tasks, task)).job_id == payment.job_id
    await ledger.void(payment, "nothing came of it")
    assert (await found(tasks, task)).job_id is None
    await tasks.release(task, *ONE)
    assert (await found(tasks, task)).claim is None


async def test_an_authorization_that_paid_for_something_else_pays_for_no_task(
    tasks: Tasks, task: Task, ledger: Ledger, offer: Offer
) -> None:
    await paid(ledger, offer, ONE, request_hash="cd" * 32)
    assert (await tasks.claim(task, *ONE)).job_id is None
    await tasks.release(task, *ONE)
    assert (await found(tasks, task)).claim is None


async def test_unpaid_tasks_go_some_time_after_their_offer_and_paid_ones_much_later(
    tasks: Tasks, task: Task, ledger: Ledger, offer: Offer, clock: FakeClock
) -> None:
    bought = await tasks.keep(ASKED, None, offer, HERE)
    await tasks.claim(bought, *ONE)
    await paid(ledger, offer, ONE)
    clock.now = (offer.expires_at_ms + LATE_MS) / 1000
    assert await tasks.sweep() == 0
    clock.now += 1
    assert await tasks.sweep() == 1
    assert await tasks.find(task.id) is None
    assert (await found(tasks, bought)).job_id is not None
    clock.now = (offer.expires_at_ms + PAID_MS) / 1000 + 1
    assert await tasks.sweep() == 1


async def test_a_new_price_lengthens_the_life_of_a_task(
    tasks: Tasks, task: Task, offers: OfferBook, clock: FakeClock
) -> None:
    clock.now += 301
    newer = await offers.make("ab" * 32, 9000, {"provider": "other", "price_usd": "0.004"}, 270)
    await tasks.renew(task, newer)
    now = await found(tasks, task)
    assert (now.provider, now.quote, now.expires_at_ms) == ("other", newer.quote, newer.expires_at_ms)


@pytest.mark.parametrize("limit", [("MAX_UNPAID", 3), ("MAX_UNPAID_BYTES", 3 * len(ASKED.body) + 1)])
async def test_no_more_is_kept_for_nothing_than_the_limit(
    tasks: Tasks, offer: Offer, limit: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, *limit)
    monkeypatch.setattr(kept, "SHARE", 1)
    first = await tasks.keep(ASKED, None, offer, HERE)
    for _ in range(2):
        await tasks.keep(ASKED, None, offer, ELSEWHERE)
    with pytest.raises(Unavailable) as refused:
        await tasks.keep(ASKED, None, offer, HERE)
    assert refused.value.code == "too_many_tasks"
    assert int(refused.value.headers["Retry-After"]) > 0
    await tasks.claim(first, *ONE)
    await tasks.keep(ASKED, None, offer, HERE)


@pytest.mark.parametrize("limit", [("MAX_UNPAID", 11), ("MAX_UNPAID_BYTES", 12 * len(ASKED.body) - 1)])
async def test_one_address_cannot_have_it_all(
    tasks: Tasks, offer: Offer, limit: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, *limit)
    first = await tasks.keep(ASKED, None, offer, HERE)
    await tasks.keep(ASKED, None, offer, HERE)
    with pytest.raises(Unavailable, match="nothing was charged"):
        await tasks.keep(ASKED, None, offer, HERE)
    await tasks.keep(ASKED, None, offer, ELSEWHERE)
    await tasks.claim(first, *ONE)
    await tasks.keep(ASKED, None, offer, HERE)


@pytest.mark.parametrize("counted", [kept._UNPAID, kept._UNPAID_OF_ONE.params(who=HERE)])
async def test_what_is_counted_is_read_from_the_index_alone(database: Database, counted: Select[Any]) -> None:
    if not database.is_sqlite:
        pytest.skip("Postgres reads a table this small from end to end, whatever indexes it has")

    def plan(connection: Any) -> str:
        asked = counted.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
        return str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}").all())

    assert "USING COVERING INDEX a2a_tasks_unpaid" in await database.read(plan)
