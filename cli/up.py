"""`galaksio up`: everything on this machine, until Ctrl-C."""

import asyncio
import signal
import time

from rich.console import Console

from cli.config import CliError, home, wallet_file
from cli.stack import Ports, Stack
from shared.settings import read_environment

COLOURS = {"devnet": "magenta", "executor": "cyan", "quote": "yellow", "broker": "green"}


async def up(console: Console) -> None:
    """Start the services, show their logs, stop them in order. Raises `CliError` with one sentence."""
    environment = read_environment()
    ports = configured_ports(environment)
    local = _wants_devnet(environment, ports)
    host = wallet_file("host_wallet") if local and not _has_wallet(environment) else None

    def log(name: str, line: str) -> None:
        console.print(f"[{COLOURS[name]}]{name:<8}[/] | ", end="")
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    began = time.monotonic()
    starting = asyncio.create_task(
        _start(Stack(ports, environment, log, with_devnet=local, pay_to=host["address"] if host else None))
    )
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    stack = starting.result()
    _welcome(console, stack, time.monotonic() - began, host)
    ended = asyncio.create_task(stack.until_one_ends())
    await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
    console.print("Stopping ...")
    await stack.stop()
    if ended.done() and not stopped.is_set():
        raise CliError(ended.result())
    ended.cancel()


async def _start(stack: Stack) -> Stack:
    return await stack.__aenter__()


def configured_ports(environment: dict[str, str]) -> Ports:
    """The ports as set by `BROKER_PORT` and the like. `PORT` is not used: four services cannot share it."""
    given = {}
    for name in ("broker", "quote", "executor", "devnet"):
        text = environment.get(f"{name.upper()}_PORT")
        if text is None:
            continue
        if not text.isdecimal() or not 1 <= int(text) <= 65535:
            raise CliError(f"{name.upper()}_PORT must be a port number from 1 to 65535.")
        given[name] = int(text)
    return Ports(**given)


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
    if host is not None:
        console.print(f"  Earnings go to {host['address']} (its key: {home() / 'host_wallet.json'}).")
    if "devnet" in stack.names:
        console.print("  The devnet's dollars are test money; never fund its keys on a real network.")
    console.print()
