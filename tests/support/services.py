"""Real services as real processes, on free ports, each stack with a state folder of its own."""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support import programs
from tests.support.ports import free_port

READY_S = 90.0
"""Patience, for machines that are busy with other tests."""
CLEAN = (
    "PORT",
    "DATABASE_URL",
    "REDIS_URL",
    "MEMCACHED_URL",
    "SANDBOX",
    "REMOTE_PROVIDERS",
    "X402_WALLET_ADDRESS",
    "BROKER_WALLET",
    "PUBLIC_BASE_URL",
)
HOST_WALLET = "0x00000000000000000000000000000000000a11ce"


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without anything that would steer a service."""
    inherited = {
        k: v for k, v in os.environ.items() if k not in CLEAN and not k.startswith(("X402_", "GALAKSIO_"))
    }
    return {**inherited, "PYTHONUNBUFFERED": "1", **more}


@dataclass
class Process:
    """One running service; its whole output is in `log`."""

    name: str
    url: str
    log: Path
    popen: programs.Program

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_ready(self) -> "Process":
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self.popen.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.popen.returncode}:\n{self.output()}")
            try:
                if (
                    httpx.get(self.url + "/health", timeout=2, trust_env=False, verify=False).status_code
                    == 200
                ):
                    return self
            except httpx.HTTPError:
                time.sleep(0.05)
        raise AssertionError(f"{self.name} was not ready in time:\n{self.output()}")

    def stop(self) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(40)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()


@dataclass
class Stack:
    """devnet, quote, executor and one or more brokers that share one state folder."""

    home: Path
    environment: dict[str, str]
    processes: dict[str, Process] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def url(self, name: str) -> str:
        return self.processes[name].url

    @property
    def broker(self) -> str:
        return self.url("broker")

    @property
    def devnet(self) -> str:
        return self.url("devnet")

    def launch(self, module: str, name: str | None = None, **more: str) -> Process:
        """Start `python -m module` without waiting for it; a restarted service keeps its port."""
        name = name or module
        port = self.ports.get(name) or self.ports.setdefault(name, free_port())
        log = self.home / f"{name}.log"
        environment = {**self.environment, f"{module.upper()}_PORT": str(port), **more}
        with log.open("ab") as output:
            program = programs.start(module, env=environment, cwd=self.home, stdout=output)
        process = Process(name, f"http://127.0.0.1:{port}", log, program)
        self.processes[name] = process
        return process

    @contextmanager
    def frozen(self, name: str = "broker") -> Iterator[None]:
        """Stop a broker in its tracks, as by a laptop's lid, and let it go on afterwards.

        It is stopped while we hold the write lock of the SQLite ledger: stopped with the lock, it would keep
        everybody else from taking over.
        """
        program = self.processes[name].popen
        with closing(sqlite3.connect(self.home / "broker.sqlite", timeout=READY_S)) as ledger:
            ledger.execute("BEGIN IMMEDIATE")
            program.send_signal(signal.SIGSTOP)
            while Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
                time.sleep(0.001)
            ledger.rollback()
        try:
            yield
        finally:
            program.send_signal(signal.SIGCONT)

    def balance(self, address: str) -> int:
        """Token balance on the chain, in atomic units."""
        answer = httpx.get(
            f"{self.devnet}/balance/{address}", trust_env=False, verify=False, timeout=60
        ).raise_for_status()
        return int(answer.json()["balance"])

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.stop()


@contextmanager
def running_stack(
    home: Path, *, brokers: int = 1, devnet_port: int | None = None, **more: str
) -> Iterator[Stack]:
    """A whole Galaksio: the further brokers are called `broker2`, `broker3`, …"""
    home.mkdir(parents=True, exist_ok=True)
    ports = {name: free_port() for name in ("devnet", "quote", "executor", "broker")}
    ports["devnet"] = devnet_port or ports["devnet"]
    settings = {
        "GALAKSIO_HOME": str(home),
        "X402_WALLET_ADDRESS": HOST_WALLET,
        "X402_FACILITATOR_URL": f"http://127.0.0.1:{ports['devnet']}",
        "CHAIN_RPC_URL": f"http://127.0.0.1:{ports['devnet']}/rpc",
        "QUOTE_SERVICE_URL": f"http://127.0.0.1:{ports['quote']}",
        "EXECUTOR_SERVICE_URL": f"http://127.0.0.1:{ports['executor']}",
        "INTERNAL_API_TOKEN": "test-token",
        "REMOTE_PROVIDERS": "off",
        # One of each language: on two cores it would be four, at every start.
        "EXECUTOR_POOL": "1",
        "RATE_LIMIT_PER_IP": "100000/minute",
        "RATE_LIMIT_PER_PAYER": "100000/minute",
    }
    environment = clean_environment(**{**settings, **more})
    stack = Stack(home, environment, ports=ports)
    try:
        started = [stack.launch(name) for name in ("devnet", "executor", "quote", "broker")]
        started += [stack.launch("broker", f"broker{number}") for number in range(2, brokers + 1)]
        for process in started:
            process.wait_ready()
        yield stack
    finally:
        stack.stop()
