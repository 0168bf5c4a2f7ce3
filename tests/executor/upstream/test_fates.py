"""What became of a payment that nobody told the end of: the chain knows, and only it frees a budget."""

import time
from pathlib import Path

import httpx
import pytest

from executor.upstream.errors import UpstreamError, UpstreamOverBudget
from executor.upstream.purse import MARGIN_S
from shared.networks import network_named
from tests.executor.upstream.paying import output, paying, rows, run, spending
from tests.support.ports import free_port
from tests.support.services import Stack
from tests.support.wallets import Wallet, new_wallet
from tests.upstream import Upstreams

VALID_S = 2


class Behind:
    """A clock that lags, so that an authorization of two seconds has long ended on the chain."""

    def __init__(self) -> None:
        self.now = time.time() - 3600

    def __call__(self) -> float:
        return self.now


def next_block(chain: Stack) -> None:
    httpx.post(
        f"{chain.devnet}/faucet", json={"address": new_wallet().address}, trust_env=False, verify=False
    ).raise_for_status()


async def test_what_ended_unused_frees_its_budget_and_may_be_signed_anew(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    shop, behind = upstreams.merit_systems, Behind()
    shop.max_timeout_s, shop.fail_before_settling = VALID_S, True
    async with paying(tmp_path, wallet, chain.devnet, behind) as payer:
        with pytest.raises(UpstreamError):  # its time is over already, for the chain
            await payer.send(run(upstreams), spending(limit=shop.price))
        next_block(chain)
        await payer._purse.look()
        assert [row["state"] for row in await rows(tmp_path)] == ["unknown"]  # for us it has not ended
        behind.now += VALID_S + MARGIN_S + 1
        await payer._purse.look()
        (row,) = await rows(tmp_path)
        assert (row["state"], row["reason"]) == ("unused", "the chain says that it was never used")
    shop.max_timeout_s, shop.fail_before_settling = 60, False
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        assert output(await payer.send(run(upstreams), spending(limit=shop.price))) == "42\n"
    assert [row["state"] for row in await rows(tmp_path)] == ["unused", "paid"]


async def test_what_was_used_is_paid_although_nobody_said_so(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    shop = upstreams.merit_systems
    shop.fail_after_payment, shop.receipt_header = True, False
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        assert (await payer.send(run(upstreams), spending())).status == 500
        payer._purse._clock = lambda: 4_000_000_000.0
        await payer._purse.look()
        (row,) = await rows(tmp_path)
        assert (row["state"], row["reason"]) == ("paid", "the chain says that it was used")


@pytest.mark.parametrize("why", ["no node answers", "the chain is behind", "it is another chain"])
async def test_without_the_chains_word_it_counts_for_good(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet, why: str
) -> None:
    shop = upstreams.merit_systems
    shop.fail_before_settling = True
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        assert (await payer.send(run(upstreams), spending(limit=shop.price))).status == 500
    more = {
        "no node answers": {"CHAIN_RPC_URL": f"http://127.0.0.1:{free_port()}"},
        "the chain is behind": {},
        "it is another chain": {"X402_NETWORK": "sei-testnet", "CHAIN_RPC_URL": f"{chain.devnet}/rpc"},
    }[why]
    # The last block is of now, and the authorization ends in a minute.
    async with paying(tmp_path, wallet, chain.devnet, lambda: 4_000_000_000.0, **more) as payer:
        await payer._purse.look()
        assert [row["state"] for row in await rows(tmp_path)] == ["unknown"]
        with pytest.raises((UpstreamOverBudget, UpstreamError)):
            await payer.send(run(upstreams, step="other"), spending(limit=shop.price))


async def test_a_chain_is_asked_about_its_own_token_only(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.merit_systems.fail_before_settling = True
    network, forever = network_named("base-sepolia"), 4_000_000_000
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        await payer.send(run(upstreams), spending())
        journal = payer._journal
        assert len(await journal.overdue(network.chain_id, network.asset, forever, 9)) == 1
        assert await journal.overdue(network.chain_id + 1, network.asset, forever, 9) == []
        assert await journal.overdue(network.chain_id, new_wallet().address, forever, 9) == []
