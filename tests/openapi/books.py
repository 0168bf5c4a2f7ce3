"""What was paid at a door, held against the ledger and the chain: to the cent, and each thing once."""

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass

import httpx

from tests.openapi.door import Door
from tests.support.services import HOST_WALLET, Stack

DATA = ("/cache/…", "/redis/…")
"""Routes whose answers change from one time to the next."""
LOOKED_AT = 50
"""So many of the jobs are asked for their status."""


@dataclass(frozen=True)
class Row:
    """A payment in the ledger."""

    nonce: str
    state: str
    amount_atomic: int
    job_id: str
    transaction: str | None


def rows_of(stack: Stack, payer: str) -> list[Row]:
    """The payments of one payer, as the ledger has them."""
    query = "SELECT nonce, state, amount_atomic, job_id, transaction_hash FROM payments WHERE payer = ?"
    with closing(sqlite3.connect(f"file:{stack.home / 'broker.sqlite'}?mode=ro", uri=True)) as ledger:
        return [Row(*row) for row in ledger.execute(query, (payer.lower(),))]


def refunds_in(stack: Stack) -> int:
    with closing(sqlite3.connect(f"file:{stack.home / 'broker.sqlite'}?mode=ro", uri=True)) as ledger:
        (found,) = ledger.execute("SELECT COUNT(*) FROM refunds").fetchone()
    return int(found)


def check_books(stack: Stack, door: Door, had_atomic: int, host_had_atomic: int) -> None:
    """Nobody paid for nothing, nothing was given away, and nobody paid twice.

    `had_atomic` is what the payer had before, `host_had_atomic` what the host had.
    """
    rows = rows_of(stack, door.wallet.address)
    assert {row.state for row in rows} <= {"settled", "voided", "rejected"}, Counter(
        row.state for row in rows
    )
    settled = {row.nonce: row for row in rows if row.state == "settled"}
    assert len({row.transaction for row in settled.values()}) == len(settled)
    assert len({row.job_id for row in settled.values()}) == len(settled)
    assert refunds_in(stack) == 0
    paid_atomic = sum(row.amount_atomic for row in settled.values())
    moved_atomic = had_atomic - stack.balance(door.wallet.address)
    taken_atomic = stack.balance(HOST_WALLET) - host_had_atomic
    assert moved_atomic == taken_atomic == paid_atomic, (moved_atomic, taken_atomic, paid_atomic)
    _check_receipts(door, settled)
    _check_chain(stack, door, settled)
    _check_jobs(stack, list(settled.values())[-LOOKED_AT:])


def _check_receipts(door: Door, settled: dict[str, Row]) -> None:
    """Whoever paid was told so with the transaction, and nobody else was; what was done is told as it was."""
    unknown = settled.keys() - {spent.nonce.lower() for spent in door.spent}
    assert not unknown, unknown
    for spent in door.spent:
        told = {receipt["transaction"] for receipt in spent.receipts}
        row = settled.get(spent.nonce.lower())
        assert told == (set() if row is None else {row.transaction}), (spent.asked, told, row, spent.answers)
        assert row is None or row.amount_atomic == spent.amount_atomic
        first, *more = spent.answers
        if first.status_code == 200 and spent.asked.route not in DATA:
            assert all(answer.content == first.content for answer in more), spent.asked


def _check_chain(stack: Stack, door: Door, settled: dict[str, Row]) -> None:
    with httpx.Client(base_url=stack.devnet, timeout=60, trust_env=False, verify=False) as chain:
        for spent in door.spent:
            answer = chain.get(f"/authorization/{door.wallet.address}/{spent.nonce}").raise_for_status()
            assert answer.json() == {"used": spent.nonce.lower() in settled}, spent.asked


def _check_jobs(stack: Stack, rows: list[Row]) -> None:
    """Whoever asks without a payment is told how it stands."""
    with httpx.Client(base_url=stack.broker, timeout=60, trust_env=False, verify=False) as broker:
        for row in rows:
            job = broker.get(f"/status/{row.job_id}").raise_for_status().json()
            assert job["status"] in {"completed", "instructions_provided"}, job
            assert (job["payment"]["state"], job["payment"]["transaction"]) == ("settled", row.transaction)
