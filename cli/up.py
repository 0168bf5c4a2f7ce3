"""`galaksio up`: everything on this machine, until Ctrl-C."""

import asyncio
import signal
import time
from pathlib import Path

from rich.console import Console

from cli.config import CliError, home, wallet_file
from cli.stack import Ports, Stack
from cli.valkey import NO_WHEEL, Valkey, find_valkey
from shared.settings import read_environment

COLOURS = {"valkey": "blue", "devnet": "magenta", "executor": "cyan", "quote": "yellow", "broker": "green"}


async def up(console: Console) -> None:
    """Start the services, show their logs, stop them in order. Raises `CliError` with one sentence."""
    environment = read_environment()
    ports = configured_ports(environment)
    local = _wants_devnet(environment, ports)
    host = wallet_file("host_wallet") if local and not _has_wallet(environment) else None
    valkey = None if environment.get("REDIS_URL") else _own_valkey(console, environment)

    def log(name: str, line: str) -> None:
        console.print(f"[{COLOURS[name]}]{name:<8}[/] | ", end="")
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    began = time.monotonic()
    pay_to = host["address"] if host else None
    stack = Stack(ports, environment, log, with_devnet=local, pay_to=pay_to, valkey=valkey)
    starting = asyncio.create_task(stack.__aenter__())
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    starting.result()
    _welcome(console, stack, time.monotonic() - began, host)
    ended = asyncio.create_task(stack.until_one_ends())
    await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
    console.print("Stopping ...")
    await stack.stop()
    if ended.done() and not stopped.is_set():
        raise CliError(ended.result())
    ended.cancel()


def configured_ports(environment: dict[str, str]) -> Ports:
    """The ports as set by `BROKER_PORT` and the like. `PORT` is not used: four services cannot share it."""
    given = {}
    for name in ("broker", "quote", "executor", "devnet"):
        if (port := _port(environment, name)) is not None:
            given[name] = port
    return Ports(**given)


def _port(environment: dict[str, str], name: str) -> int | None:
    text = environment.get(f"{name.upper()}_PORT")
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise CliError(f"{name.upper()}_PORT must be a port number from 1 to 65535.")
    return int(text)


def _own_valkey(console: Console, environment: dict[str, str]) -> Valkey | None:
    folder = Path(environment.get("GALAKSIO_HOME") or home()).expanduser().absolute() / "valkey"
    valkey = find_valkey(folder, _port(environment, "valkey"))
    if valkey is None:
        console.print(f"[yellow]{NO_WHEEL}[/]")
    return valkey


def _wants_devnet(environment: dict[str, str], ports: Ports) -> bool:
    configured = environment.get("X402_FACILITATOR_URL") or environment.get("FACILITATOR_URL")
    own = {f"http://{host}:{ports.devnet}" for host in ("localhost", "127.0.0.1")}
    return configured is None or configured.rstrip("/") in own


def _has_wallet(environment: dict[str, str]) -> bool:
    return bool(environment.get("X402_WALLET_ADDRESS") or environment.get("BROKER_WALLET"))


def _welcome(console: Console, stack: Stack, seconds: float, host: dict[str, str] | None) -> None:
    console.print(f"\n[bold green]Galaksio is up[/] after {seconds:.1f} s. Ctrl-C stops it.")
    for name in reversed(stack.names):
        console.print(f"  {name:<9} {stack.ports.url(name)}", highlight=False)
    if stack.valkey is not None:
        console.print(
            f"  valkey    127.0.0.1:{stack.valkey.port}, kept in {stack.valkey.folder}", highlight=False
        )
    if host is not None:
        console.print(f"  Earnings go to {host['address']} (its key: {home() / 'host_wallet.json'}).")
    if "devnet" in stack.names:
        console.print("  The devnet's dollars are test money; never fund its keys on a real network.")
    console.print()
