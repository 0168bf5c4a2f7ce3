"""Buys at a running stack and checks every cent, for scripts/compose-test.sh.

python -m tests.containers.purchases --broker URL --devnet URL all
python -m tests.containers.purchases --broker URL --devnet URL runs 12 [--meanwhile "docker kill ID"]
"""

import argparse
import asyncio
import shlex
from decimal import Decimal

import httpx
from eth_account import Account

from cli.config import CliError, Config, account_of
from cli.demo_purchases import Purchases
from cli.terminal import out
from galaksio import AsyncClient, Error
from shared.money import usd_to_atomic

CAP_USD = Decimal("0.10")
BEGUN_S = 1.5
"""After so long all runs are under way, and none has ended."""
RUN_S = 3


async def buy_all(config: Config) -> int:
    """Runs, storage and a cache, each used; returns what they cost."""
    async with Purchases(out, config) as purchases:
        for language in ("python", "javascript", "bash"):
            await purchases.run(language)
        await purchases.store_text()
        await purchases.store_file()
        await purchases.cache()
        return purchases.spent_atomic


async def buy_runs(config: Config, count: int, meanwhile: str) -> int:
    """So many runs at once, each with its own result; returns what those cost that came to a result.

    With `meanwhile`, a command to be started while they go on, the broker may refuse some.
    """
    async with AsyncClient(config.private_key, config.broker_url, max_cost_usd=CAP_USD) as client:
        running = asyncio.gather(*(_run(client, number) for number in range(count)), return_exceptions=True)
        if meanwhile:
            await asyncio.sleep(BEGUN_S)
            breaking = await asyncio.create_subprocess_exec(*shlex.split(meanwhile))
            if await breaking.wait() != 0:
                raise CliError(f"`{meanwhile}` failed.")
        answers = await running
    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    out.print(f"{count - len(failed)} of {count} runs were done, {len(failed)} were not")
    unexpected = [error for error in failed if not (meanwhile and isinstance(error, Error))]
    if unexpected:
        raise unexpected[0]
    if len(failed) == count:
        raise CliError("No run was done at all.")
    return sum(answer for answer in answers if isinstance(answer, int))


async def _run(client: AsyncClient, number: int) -> int:
    run = await client.run(f"sleep {RUN_S}; echo {number}", "bash")
    if run.stdout != f"{number}\n":
        raise AssertionError(f"run {number} came to {run}")
    return usd_to_atomic(run.price_usd)


async def check(arguments: argparse.Namespace) -> None:
    key, address = account_of(bytes(Account.create().key).hex())
    config = Config(private_key=key, address=address, broker_url=arguments.broker, max_cost_usd=CAP_USD)
    async with httpx.AsyncClient(base_url=arguments.devnet, trust_env=False, timeout=30) as devnet:

        async def balance() -> int:
            return int((await devnet.get(f"/balance/{address}")).raise_for_status().json()["balance"])

        (await devnet.post("/faucet", json={"address": address})).raise_for_status()
        before = await balance()
        if arguments.what == "all":
            cost = await buy_all(config)
        else:
            cost = await buy_runs(config, arguments.count, arguments.meanwhile)
        charged = before - await balance()
    if charged != cost:
        raise AssertionError(f"{charged} atomic units were charged, and what was had costs {cost}")
    out.print(f"{charged} atomic units were charged, for exactly what was had")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--devnet", required=True)
    parser.add_argument("what", choices=["all", "runs"])
    parser.add_argument("count", type=int, nargs="?", default=1)
    parser.add_argument("--meanwhile", default="", help="a command that breaks something while they run")
    asyncio.run(check(parser.parse_args()))


if __name__ == "__main__":
    main()
