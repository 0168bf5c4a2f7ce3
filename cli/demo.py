"""`galaksio demo`: the whole thing once, for real: start, ask, get a 402, pay, compare balances."""

import asyncio
import base64
import json
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from cli.config import CliError, Config
from cli.demo_purchases import SNIPPETS, Purchases
from cli.stack import Ports, Stack
from cli.valkey import NO_WHEEL, find_valkey
from shared.money import atomic_to_usd

CAP_USD = Decimal("0.05")


async def demo(console: Console) -> None:
    """Run the demo on free ports with a state folder of its own. Raises `CliError` if anything is off."""
    from eth_account import Account

    buyer, host = Account.create(), Account.create()
    with tempfile.TemporaryDirectory(prefix="galaksio-demo-") as folder:
        log_file = Path(folder) / "demo.log"
        with log_file.open("w") as log:
            environment = {"GALAKSIO_HOME": folder, "X402_ENABLED": "true", "BROKER_FEE_USD": "0.005"}
            stack = Stack(
                Ports.free(),
                {**environment, "X402_WALLET_ADDRESS": str(host.address), "DATABASE_URL": ""},
                lambda name, line: print(f"{name}: {line}", file=log),
                valkey=find_valkey(Path(folder) / "valkey"),
            )
            began = time.monotonic()
            console.print("[bold]1. Start[/]: devnet, executor, quote and broker as real processes")
            async with stack:
                console.print(f"   ready after {time.monotonic() - began:.1f} s, {stack.ports.url('broker')}")
                await _sales(console, stack, buyer, str(host.address))
            console.print("[bold]Done.[/] Everything was stopped again; `galaksio up` keeps it running.")


async def _sales(console: Console, stack: Stack, buyer: Any, host: str) -> None:
    ports = stack.ports
    config = Config(
        private_key="0x" + bytes(buyer.key).hex(),
        address=str(buyer.address),
        broker_url=ports.url("broker"),
        max_cost_usd=CAP_USD,
    )
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        await _show_challenge(console, http, config)
        devnet = ports.url("devnet")
        faucet = (await http.post(f"{devnet}/faucet", json={"address": config.address})).json()
        console.print(f"[bold]3. A wallet[/]: {config.address} gets ${atomic_to_usd(int(faucet['amount']))}")
        languages = await _languages(http, ports)
        before = await _balances(http, devnet, config.address, host)
        async with Purchases(console, config) as buys:
            console.print(f"[bold]4. Pay and run[/] ({', '.join(languages)}), cap ${CAP_USD} a payment")
            for language in languages:
                await buys.run(language)
            console.print("[bold]5. Pay and store[/], fetch it back by its content id, compare the bytes")
            await buys.store_text()
            await buys.store_file()
            if stack.valkey is None:
                console.print(f"[bold]6. Caches[/] are left out: {NO_WHEEL}")
            else:
                console.print("[bold]6. Pay for a cache[/], use it over HTTP and with a Redis command")
                await buys.cache()
        after = await _balances(http, devnet, config.address, host)
    _compare(console, before, after, buys.spent_atomic)


def _compare(console: Console, before: list[int], after: list[int], spent: int) -> None:
    console.print("[bold]7. Balances on the chain[/]")
    for who, old, new in zip(("buyer", "host"), before, after, strict=True):
        console.print(f"   {who:<6} ${atomic_to_usd(old)} -> ${atomic_to_usd(new)}", highlight=False)
    if (before[0] - after[0], after[1] - before[1]) != (spent, spent):
        raise CliError(f"The balances do not agree with the ${atomic_to_usd(spent)} of the receipts.")
    console.print(f"   They moved by exactly ${atomic_to_usd(spent)}, the sum of the receipts.")


async def _show_challenge(console: Console, http: httpx.AsyncClient, config: Config) -> None:
    response = await http.post(f"{config.broker_url}/run", json={"code": SNIPPETS["python"]})
    if response.status_code != 402:
        raise CliError(f"The broker answered {response.status_code} instead of 402: {response.text}")
    v1 = response.json()["accepts"][0]
    v2 = json.loads(base64.b64decode(response.headers["PAYMENT-REQUIRED"]))["accepts"][0]
    console.print("[bold]2. Ask without paying[/]: POST /run")
    console.print(f"   HTTP {response.status_code} {response.reason_phrase}")
    console.print(
        f"   price ${atomic_to_usd(int(v1['maxAmountRequired']))} ({v1['maxAmountRequired']} atomic units), "
        f"to {v1['payTo']}, on {v1['network']} (x402 v1) = {v2['network']} (x402 v2)",
        highlight=False,
    )


async def _languages(http: httpx.AsyncClient, ports: Ports) -> list[str]:
    able = []
    for language in SNIPPETS:
        answer = await http.get(
            f"{ports.url('broker')}/quote", params={"operation": "run", "language": language}
        )
        if answer.json().get("best"):
            able.append(language)
    if not able:
        raise CliError(f"No language can be run here: {answer.text}")
    return able


async def _balances(http: httpx.AsyncClient, devnet: str, *addresses: str) -> list[int]:
    answers = await asyncio.gather(*(http.get(f"{devnet}/balance/{address}") for address in addresses))
    return [int(answer.json()["balance"]) for answer in answers]
