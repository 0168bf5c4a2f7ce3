"""The purse looks after its money by itself, and ends when it is told to."""

import asyncio
from pathlib import Path

import pytest

from executor.upstream import purse as purse_module
from executor.upstream.chain import Chain
from executor.upstream.journal import Journal, Limits
from executor.upstream.purse import Purse
from shared.clock import system_clock
from shared.database import Database
from shared.networks import network_named
from tests.executor.conftest import until


@pytest.mark.parametrize("turns", range(4))
async def test_it_ends_when_it_is_closed_at_the_moment_in_which_something_was_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """`asyncio.wait_for` of Python 3.11 loses a cancellation that comes as what it waits for is done."""
    monkeypatch.setattr(purse_module, "PAUSE_S", 0.01)
    journal = Journal(Database(f"sqlite:///{tmp_path / 'upstream.sqlite'}"), system_clock, Limits(100, 1000))
    purse = Purse(journal, system_clock)
    looks = 0
    look = purse.look

    async def counted() -> None:
        nonlocal looks
        await look()
        looks += 1

    monkeypatch.setattr(purse, "look", counted)
    await purse.open()
    assert await until(lambda: looks == 1)
    await asyncio.sleep(0.05)  # it waits for the next payment by now
    purse.spent("xcache", 1)
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await purse.close()


@pytest.mark.parametrize("then", [0, 700], ids=["empty", "full"])
async def test_a_chain_that_does_not_answer_and_an_empty_wallet_are_looked_at_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: int
) -> None:
    """Everything that is started together is not there at the first look."""
    for name in ("PAUSE_S", "LOOK_AGAIN_S"):
        monkeypatch.setattr(purse_module, name, 0.01)
    monkeypatch.setattr(purse_module, "LOOK_EVERY_S", 3600.0)
    chain, told = Chain("http://127.0.0.1:9", network_named("base-sepolia")), [None, then, 800]

    async def balance(_: str) -> int | None:
        return told.pop(0) if len(told) > 1 else told[0]

    monkeypatch.setattr(chain, "balance", balance)
    journal = Journal(Database(f"sqlite:///{tmp_path / 'upstream.sqlite'}"), system_clock, Limits(900, 1000))
    purse = Purse(journal, system_clock, chain, "0x" + "1" * 40)
    await purse.open()
    try:
        assert await until(lambda: purse.spendable_atomic == (then or 800))
    finally:
        await purse.close()
