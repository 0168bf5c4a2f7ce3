"""Nothing is spent beyond a limit: per call, per job, per day; by one executor or by several at once."""

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from executor.upstream.errors import UpstreamError, UpstreamOff, UpstreamOverBudget
from executor.upstream.journal import Draft, Signed
from tests.executor.upstream.paying import create, paying, rows, run, spending
from tests.support.ports import free_port
from tests.support.services import Stack
from tests.support.wallets import Wallet, new_wallet
from tests.upstream import Upstreams

FUNDS = 100_000_000


class Now:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


async def test_a_call_over_its_limit_is_not_signed(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.xcache.price = 50_001
    async with paying(tmp_path, wallet, chain.devnet, UPSTREAM_MAX_CALL_USD="0.05") as payer:
        assert payer.means().spendable_atomic == 50_000
        with pytest.raises(UpstreamOverBudget, match=r"\$0\.050001, which is over the \$0\.05") as refused:
            await payer.send(create(upstreams), spending(limit=None))
        upstreams.xcache.price = 50_000
        await payer.send(create(upstreams), spending("next", limit=None))
    assert refused.value.status == 503
    assert [row["amount_atomic"] for row in await rows(tmp_path)] == [50_000]
    assert len(upstreams.xcache.paid_requests) == 1


async def test_what_a_job_spends_is_counted_over_all_its_providers(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.merit_systems.answer_402_again = True
    both = upstreams.merit_systems.price + upstreams.xcache.price
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        with pytest.raises(UpstreamError):
            await payer.send(run(upstreams), spending(limit=both - 1))
        with pytest.raises(UpstreamOverBudget, match="this job may spend"):
            await payer.send(create(upstreams), spending(provider="xcache", limit=both - 1))
        await payer.send(create(upstreams), spending(provider="xcache", limit=both))
        with pytest.raises(UpstreamOverBudget):
            await payer.send(create(upstreams), spending("new", "xcache", limit=0))
    assert sum(row["amount_atomic"] for row in await rows(tmp_path)) == both


async def test_a_job_without_a_limit_of_its_own_gets_that_of_one_call(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    async with paying(tmp_path, wallet, chain.devnet, UPSTREAM_MAX_CALL_USD="0.01") as payer:
        await payer.send(create(upstreams), spending(limit=None))
        with pytest.raises(UpstreamOverBudget, match="this job"):
            await payer.send(create(upstreams, step="second"), spending(limit=None))


async def test_a_day_ends_after_24_hours_and_not_with_a_restart(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    now = Now()
    upstreams.xcache.answer_402_again = True  # the chain's clock is another one
    for job_id in ("first", "second"):
        async with paying(tmp_path, wallet, chain.devnet, now, UPSTREAM_MAX_DAY_USD="0.02") as payer:
            with pytest.raises(UpstreamError, match="another one"):
                await payer.send(create(upstreams), spending(job_id))
        now.seconds += 43_200
    now.seconds -= 1
    async with paying(tmp_path, wallet, chain.devnet, now, UPSTREAM_MAX_DAY_USD="0.02") as payer:
        assert payer.means().spendable_atomic == 0
        with pytest.raises(UpstreamOverBudget, match="UPSTREAM_MAX_DAY_USD"):
            await payer.send(create(upstreams), spending("third"))
        now.seconds += 2
        with pytest.raises(UpstreamError, match="another one"):
            await payer.send(create(upstreams), spending("third"))


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_two_executors_at_once_spend_a_day_together_and_no_more(
    tmp_path: Path,
    chain: Stack,
    upstreams: Upstreams,
    wallet: Wallet,
    *,
    backend: str,
    request: pytest.FixtureRequest,
) -> None:
    url: str | None = None
    more = {"UPSTREAM_MAX_DAY_USD": "0.05"}
    if backend == "postgres":
        new_postgres: Callable[[], str] = request.getfixturevalue("new_postgres")
        more["DATABASE_URL"] = new_postgres()
        url = more["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
    async with (
        paying(tmp_path, wallet, chain.devnet, **more) as one,
        paying(tmp_path, wallet, chain.devnet, **more) as two,
    ):
        orders = [
            payer.send(create(upstreams), spending(f"{name}-{number}"))
            for number in range(6)
            for name, payer in (("one", one), ("two", two))
        ]
        outcomes = await asyncio.gather(*orders, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, UpstreamOverBudget)]
    assert (len(refused), len(outcomes)) == (7, 12)
    assert [row["state"] for row in await rows(tmp_path, url)] == ["paid"] * 5
    assert chain.balance(wallet.address) == FUNDS - 50_000


async def test_the_same_step_at_two_executors_at_once_is_one_payment(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.xcache.remembers = True
    async with (
        paying(tmp_path, wallet, chain.devnet) as one,
        paying(tmp_path, wallet, chain.devnet) as two,
    ):
        orders = [payer.send(create(upstreams), spending()) for payer in (one, two) * 4]
        await asyncio.gather(*orders, return_exceptions=True)
    (row,) = await rows(tmp_path)
    assert {asked.nonce for asked in upstreams.xcache.paid_requests} == {row["nonce"]}
    assert chain.balance(wallet.address) == FUNDS - upstreams.xcache.price


async def test_an_empty_wallet_signs_nothing_and_a_filled_one_is_seen_at_once(
    tmp_path: Path, chain: Stack, upstreams: Upstreams
) -> None:
    empty = new_wallet()
    async with paying(tmp_path, empty, chain.devnet) as payer:
        await payer._purse.look()
        assert payer.means().spendable_atomic == 0
        with pytest.raises(UpstreamOverBudget, match="wallet holds less"):
            await payer.send(create(upstreams), spending())
        assert await rows(tmp_path) == []
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            await http.post(f"{chain.devnet}/faucet", json={"address": empty.address})
        assert (await payer.send(create(upstreams), spending())).status == 200
        await payer._purse.look()
        assert payer.means().spendable_atomic == 1_000_000


async def test_a_balance_that_nobody_knows_stops_nothing(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    async with paying(tmp_path, wallet, nowhere) as payer:
        assert payer.means().spendable_atomic == 1_000_000
        assert (await payer.send(create(upstreams), spending())).status == 200


async def test_a_journal_that_cannot_be_written_pays_nothing(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        await payer._journal._database.write(lambda c: c.execute(text("DROP TABLE upstream_payments")))
        with pytest.raises(UpstreamOff, match="journal"):
            await payer.send(create(upstreams), spending())
    assert upstreams.xcache.paid_requests == []


async def test_a_payment_that_somebody_else_took_up_is_not_given_up(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    draft = Draft("work", "a", "POST", 1, 84532, "0x1", "0x2", "0x3", 5, 5)
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        journal = payer._journal
        for job_id, others in (("alone", 0), ("shared", 1)):
            payment = await journal.reserve(
                draft, spending(job_id), lambda: Signed(secrets.token_hex(32), 9, "")
            )
            for _ in range(others):
                assert await journal.take(spending(job_id), "work") is not None
            assert await journal.withdraw(payment.id, "never sent") is (others == 0)
        assert await journal.take(spending("alone"), "work") is None
