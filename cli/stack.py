"""The three services, the local payment network and a Valkey as child processes, with one log and one end."""

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from cli.config import CliError
from cli.valkey import Valkey
from shared.errors import StartupError
from shared.serve import check_port_free

HOST = "127.0.0.1"
VALKEY = "valkey"
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 35.0
TAIL_LINES = 12

Log = Callable[[str, str], None]
"""Called with a service's name and one readable line."""


@dataclass(frozen=True)
class Ports:
    broker: int = 8080
    quote: int = 8081
    executor: int = 8082
    devnet: int = 8402

    @staticmethod
    def free() -> "Ports":
        """Four ports that nobody listens on right now."""
        held = [socket.create_server((HOST, 0)) for _ in range(4)]
        numbers = [server.getsockname()[1] for server in held]
        for server in held:
            server.close()
        return Ports(*numbers)

    def url(self, service: str) -> str:
        return f"http://{HOST}:{getattr(self, service)}"


@dataclass
class Service:
    name: str
    process: asyncio.subprocess.Process
    tail: list[str] = field(default_factory=list)
    reader: asyncio.Task[None] | None = None


class Stack:
    """Start with `async with Stack(...)`; leaving the block stops every service, newest first."""

    def __init__(
        self,
        ports: Ports,
        environment: Mapping[str, str],
        log: Log,
        *,
        with_devnet: bool = True,
        pay_to: str | None = None,
        valkey: Valkey | None = None,
    ) -> None:
        """`valkey` is started ahead of the services, which are told its address, and stopped after them."""
        self.ports = ports
        self.names = [*(["devnet"] if with_devnet else []), "executor", "quote", "broker"]
        self.valkey = valkey
        self._environment = _environment(environment, ports, pay_to if with_devnet else None, with_devnet)
        if valkey is not None:
            self._environment["REDIS_URL"] = valkey.url
        self._log = log
        self._services: list[Service] = []

    async def __aenter__(self) -> "Stack":
        self._check_ports()
        try:
            if self.valkey is not None:
                self._services.append(await self._start_valkey(self.valkey))
            for name in self.names:
                self._services.append(await self._start(name))
            await self._all_ready()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def until_one_ends(self) -> str:
        """Wait until a service ends by itself; returns one sentence about it."""
        waits = {asyncio.create_task(service.process.wait()): service for service in self._services}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        service = waits[done.pop()]
        return f"The {service.name} ended by itself with status {service.process.returncode}."

    async def stop(self) -> None:
        """Ask every service to finish, the broker first, and last what they all use.

        Whoever does not within the grace is killed.
        """
        services = list(reversed(self._services))
        await _end([service for service in services if service.name != VALKEY])
        await _end([service for service in services if service.name == VALKEY])
        self._services.clear()

    def _check_ports(self) -> None:
        for name in self.names:
            try:
                check_port_free(HOST, getattr(self.ports, name), f"{name.upper()}_PORT")
            except StartupError as exc:
                raise CliError(f"The {name} cannot start. {exc}") from None

    async def _start(self, name: str) -> Service:
        return await self._launch(name, sys.executable, "-m", name, env=self._environment)

    async def _start_valkey(self, valkey: Valkey) -> Service:
        command, lock = valkey.prepare()
        try:
            return await self._launch(VALKEY, *command, cwd=valkey.folder, pass_fds=(lock,))
        finally:
            os.close(lock)

    async def _launch(self, name: str, *command: str, **options: Any) -> Service:
        process = await asyncio.create_subprocess_exec(
            *command,
            **options,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1024 * 1024,
            start_new_session=True,  # Ctrl-C reaches us alone; we end the services in order
        )
        service = Service(name, process)
        service.reader = asyncio.create_task(self._read(service))
        return service

    async def _read(self, service: Service) -> None:
        stream = service.process.stdout
        if stream is None:
            return
        async for raw in stream:
            line = readable(raw.decode(errors="replace").rstrip())
            service.tail = [*service.tail, line][-TAIL_LINES:]
            self._log(service.name, line)

    async def _all_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
            await asyncio.gather(*(self._ready(http, service, deadline) for service in self._services))

    async def _ready(self, http: httpx.AsyncClient, service: Service, deadline: float) -> None:
        while time.monotonic() < deadline:
            if service.process.returncode is not None:
                if service.reader is not None:
                    await service.reader
                said = "\n".join(service.tail) or "it said nothing"
                raise CliError(f"The {service.name} could not start:\n{said}")
            if await self._answers(http, service.name):
                return
            await asyncio.sleep(0.05)
        raise CliError(f"The {service.name} did not become ready within {READY_TIMEOUT_S:.0f} s.")

    async def _answers(self, http: httpx.AsyncClient, name: str) -> bool:
        if name == VALKEY:
            return self.valkey is not None and await self.valkey.answers()
        with suppress(httpx.HTTPError):
            return (await http.get(self.ports.url(name) + "/health")).status_code == 200
        return False


async def _end(services: list[Service]) -> None:
    for service in services:
        with suppress(ProcessLookupError):
            service.process.send_signal(signal.SIGTERM)
    for service in services:
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await service.process.wait()
        except TimeoutError:
            service.process.kill()
            await service.process.wait()
        if service.reader is not None:
            await service.reader


def _environment(
    base: Mapping[str, str], ports: Ports, pay_to: str | None, with_devnet: bool
) -> dict[str, str]:
    environment = {
        **os.environ,
        **base,
        "BROKER_PORT": str(ports.broker),
        "QUOTE_PORT": str(ports.quote),
        "EXECUTOR_PORT": str(ports.executor),
        "DEVNET_PORT": str(ports.devnet),
        "QUOTE_SERVICE_URL": ports.url("quote"),
        "EXECUTOR_SERVICE_URL": ports.url("executor"),
        "PYTHONUNBUFFERED": "1",
    }
    environment.setdefault("INTERNAL_API_TOKEN", secrets.token_urlsafe(24))
    if with_devnet:
        environment["X402_FACILITATOR_URL"] = ports.url("devnet")
        environment["DEVNET_URL"] = ports.url("devnet")
        environment["CHAIN_RPC_URL"] = ports.url("devnet") + "/rpc"
        environment["X402_NETWORK"] = "base-sepolia"
        # The devnet's dollars buy nothing anywhere else.
        environment.setdefault("REMOTE_PROVIDERS", "off")
    if pay_to is not None:
        environment.setdefault("X402_WALLET_ADDRESS", pay_to)
    return environment


def readable(line: str) -> str:
    """A JSON log line as `12:30:01 info event key=value …`; any other line as it is."""
    try:
        event = json.loads(line)
        stamp, level, what = event.pop("timestamp"), event.pop("level"), event.pop("event")
    except (ValueError, KeyError, AttributeError):
        return line
    trace = event.pop("exception", None)
    rest = " ".join(f"{k}={v}" for k, v in event.items() if k not in {"service", "source"})
    text = f"{stamp[11:19]} {level:<7} {what} {rest}".rstrip()
    return f"{text}\n{trace}" if trace else text
