"""An executor that is killed between the signature and the answer pays once, and knows what it spent."""

import signal
import time
from pathlib import Path

import pytest
from fastapi.responses import PlainTextResponse

from executor.upstream.errors import UpstreamOverBudget, UpstreamRefused
from tests.executor.upstream.paying import output, paying, rows, run, spending
from tests.support import programs
from tests.support.services import Stack, clean_environment
from tests.support.wallets import Wallet
from tests.upstream import Upstreams

FUNDS = 100_000_000
PATIENCE_S = 30


def killed_while_it_pays(home: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet) -> None:
    """A process of its own orders, and is killed when its payment has come to the provider."""
    environment = clean_environment(
        GALAKSIO_HOME=str(home),
        EXECUTOR_PRIVATE_KEY=wallet.key,
        CHAIN_RPC_URL=f"{chain.devnet}/rpc",
        MERIT_SYSTEMS_URL=upstreams.settings["MERIT_SYSTEMS_URL"],
        PYTHONPATH=str(Path(__file__).parents[3]),
    )
    with (home / "log").open("wb") as said:
        program = programs.start(
            "tests.executor.upstream.orders_once", env=environment, cwd=home, stdout=said
        )
    deadline = time.monotonic() + PATIENCE_S
    while not upstreams.merit_systems.paid_requests:
        assert time.monotonic() < deadline and program.poll() is None, (home / "log").read_text()
        time.sleep(0.01)
    program.send_signal(signal.SIGKILL)
    program.wait(PATIENCE_S)


def wait_until_settled(upstreams: Upstreams) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not upstreams.merit_systems.settled:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("settled", [False, True])
async def test_after_a_kill_the_same_job_sends_the_same_payment_and_one_transfer_is_made(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet, settled: bool
) -> None:
    shop = upstreams.merit_systems
    shop.remembers = True
    shop.hang_s = PATIENCE_S
    if not settled:
        # It is sent again in five seconds: there is time to kill who would give up after the third.
        busy = PlainTextResponse("busy", 504, headers={"Retry-After": "5"})
        shop.reply = lambda asked: busy if asked.payment else None
    killed_while_it_pays(tmp_path, chain, upstreams, wallet)
    if settled:
        wait_until_settled(upstreams)
    (reserved,) = await rows(tmp_path)
    assert reserved["state"] == "reserved"
    shop.hang_s, shop.reply = 0.0, lambda _: None
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        with pytest.raises(UpstreamOverBudget):  # what is reserved counts
            await payer.send(run(upstreams, step="other"), spending(limit=shop.price))
        assert output(await payer.send(run(upstreams), spending(limit=shop.price))) == "42\n"
    (paid,) = await rows(tmp_path)
    assert (paid["state"], paid["nonce"]) == ("paid", reserved["nonce"])
    assert {asked.nonce for asked in shop.paid_requests} == {reserved["nonce"]}
    assert chain.balance(wallet.address) == FUNDS - shop.price


async def test_after_a_kill_a_stock_provider_that_settled_is_not_paid_again(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    shop = upstreams.merit_systems
    shop.hang_s = PATIENCE_S
    killed_while_it_pays(tmp_path, chain, upstreams, wallet)
    wait_until_settled(upstreams)
    shop.hang_s = 0.0
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        for _ in range(2):
            with pytest.raises(UpstreamRefused, match="asks for another"):
                await payer.send(run(upstreams), spending())
    assert [row["state"] for row in await rows(tmp_path)] == ["unknown"]
    assert chain.balance(wallet.address) == FUNDS - shop.price
