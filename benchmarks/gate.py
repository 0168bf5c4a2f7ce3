"""The broker's payment gate against the `x402` package's FastAPI middleware and a bare FastAPI route.

Every server is a uvicorn process of its own (uvloop, httptools, one worker), the load client another; quote,
facilitator and executor answer at once and stand behind all of them. Rounds alternate between the servers;
what is printed are ratios of medians within this run, and the growth of the broker's memory.

The challenges with a target are answers to one and the same request, which the broker answers from memory for
a second at a time (`broker/payments/repeats.py`). What it takes without that is printed beside it, without a
target: requests of one meaning of which no two are the same bytes, each answered by the whole gate.

`python benchmarks/gate.py [--rounds N] [--only challenge|paid|memory]`; the exit code is 1 when a target is
missed.
"""

import argparse
import asyncio
import base64
import itertools
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from eth_account import Account
from x402 import x402Client
from x402.http.utils import decode_payment_required_header, encode_payment_signature_header
from x402.mechanisms.evm.exact.register import register_exact_evm_client

HERE = Path(__file__).parent
BODY = {"code": "print(1)"}
CONNECTIONS = 8
PAID_CONNECTIONS = 32
"""Enough to keep a server busy while its disk and its neighbours answer; with 8 it waits for its disk."""
CHALLENGES = 6000
"""In one round: it lasts long enough for what the broker keeps to run out and be made again."""
PAYMENTS = 400
MEMORY_REQUESTS = 20_000
READY_S = 30

CHALLENGE_VS_PACKAGE = 3.0
CHALLENGE_VS_BARE = 1.0
PAID_VS_PACKAGE = 2.0
MEMORY_GROWTH = 1.05


class Server:
    """One uvicorn process on a free port; what it prints is in `log`."""

    def __init__(self, log: Path, app: str, *arguments: str, **environment: str) -> None:
        self.log = log
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            app,
            *arguments,
            "--port",
            str(self.port),
            "--workers",
            "1",
        ]
        command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--no-proxy-headers"]
        command += ["--log-level", "warning"]
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("X402_", "GALAKSIO_"))
        }
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=log.parent,
                env={**inherited, "PYTHONPATH": str(HERE.parent), **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                httpx.get(f"{self.url}/health", trust_env=False)
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                return
        sys.exit(f"a server did not start:\n{self.log.read_text()[-2000:]}")

    def memory_kb(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None
        return int(found[1])

    def request(self, body: dict[str, Any], padding: str = "", **headers: str) -> bytes:
        content = (json.dumps(body) + padding).encode()
        given = {"Host": f"127.0.0.1:{self.port}", "Content-Type": "application/json", **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        return f"POST /run HTTP/1.1\r\n{lines}Content-Length: {len(content)}\r\n\r\n".encode() + content

    def rate(self, requests: list[bytes], status: int, connections: int = CONNECTIONS) -> float:
        """Requests per second, every one answered with `status`, measured by the client's process."""
        job = {
            "host": "127.0.0.1",
            "port": self.port,
            "connections": connections,
            "status": status,
            "requests": [base64.b64encode(request).decode() for request in requests],
        }
        command = [sys.executable, str(HERE / "_load.py")]
        done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{self.log.stem}: {done.stderr[-2000:]}\n{self.log.read_text()[-2000:]}")
        return len(requests) / float(json.loads(done.stdout)["seconds"])


@contextmanager
def servers(home: Path) -> Iterator[dict[str, Server]]:
    with ExitStack() as stack:

        def start(name: str, *arguments: str, **environment: str) -> Server:
            server = Server(home / f"{name}.log", *arguments, **environment)
            stack.callback(server.process.wait)
            stack.callback(server.process.terminate)
            return server

        folder = ("--app-dir", str(HERE), "--factory")
        neighbours = start("neighbours", "_servers:neighbours", *folder)
        neighbours.wait_ready()
        running = {
            "bare": start("bare", "_servers:bare", *folder),
            "package": start("package", "_servers:packaged", *folder, NEIGHBOURS_URL=neighbours.url),
            "broker": start(
                "broker",
                "broker.main:app",
                GALAKSIO_HOME=str(home),
                X402_WALLET_ADDRESS="0x" + "12" * 20,
                X402_FACILITATOR_URL=neighbours.url,
                QUOTE_SERVICE_URL=neighbours.url,
                EXECUTOR_SERVICE_URL=neighbours.url,
                CHAIN_RPC_URL=neighbours.url,
                DATABASE_URL="",
                RATE_LIMIT_PER_IP="100000000/minute",
                RATE_LIMIT_PER_PAYER="100000000/minute",
                PAYER_EXPOSURE_USD="1000000",
                OFFER_TTL_S="3600",
            ),
        }
        for server in running.values():
            server.wait_ready()
        yield running


def unlike(server: Server, first: int, count: int) -> list[bytes]:
    """`count` requests that mean the same: the number of each stands behind its body in spaces and tabs."""
    paddings = (f"{number:020b}".translate({48: " ", 49: "\t"}) for number in range(first, first + count))
    return [server.request(BODY, padding) for padding in paddings]


def challenges(rounds: int, running: dict[str, Server]) -> list[bool]:
    """Print and judge the rate of 402s, from memory and without."""
    numbers = itertools.count(step=CHALLENGES)
    measured: dict[str, Callable[[], float]] = {
        "bare": lambda: running["bare"].rate([running["bare"].request(BODY)] * CHALLENGES, 200),
        "package": lambda: running["package"].rate([running["package"].request(BODY)] * CHALLENGES, 402),
        "broker": lambda: running["broker"].rate([running["broker"].request(BODY)] * CHALLENGES, 402),
        "unlike": lambda: running["broker"].rate(unlike(running["broker"], next(numbers), CHALLENGES), 402),
    }
    rates = compare(rounds, measured)
    good = []
    for name, baseline, target in (
        ("package's 402", rates["package"], CHALLENGE_VS_PACKAGE),
        ("bare FastAPI route", rates["bare"], CHALLENGE_VS_BARE),
    ):
        good.append(judge(f"402 / {name}", rates["broker"] / baseline, target))
        print(
            f"402, no two requests alike / {name}: {rates['unlike'] / baseline:.2f} (no target)", flush=True
        )
    return good


class Payer:
    """Signs payments ahead of the measurement with the package's own client."""

    def __init__(self) -> None:
        self._client = x402Client()
        register_exact_evm_client(self._client, Account.create())

    def requests(self, server: Server, count: int) -> list[bytes]:
        """`count` requests, each with an authorization of its own, for what the server asks now."""
        told = httpx.post(f"{server.url}/run", json=BODY, trust_env=False)
        required = decode_payment_required_header(told.headers["PAYMENT-REQUIRED"])

        async def sign() -> list[str]:
            payloads = [await self._client.create_payment_payload(required) for _ in range(count)]
            return [encode_payment_signature_header(payload) for payload in payloads]

        return [server.request(BODY, **{"PAYMENT-SIGNATURE": header}) for header in asyncio.run(sign())]


def compare(rounds: int, measured: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Median rates of alternating rounds; the first round of each only warms it up."""
    names = list(measured)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds + 1):
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            rate = measured[name]()
            if round_:
                rates[name].append(rate)
    return {name: statistics.median(found) for name, found in rates.items()}


def paid_runs(rounds: int, running: dict[str, Server]) -> bool:
    """Print and judge the rate of paid runs, each with an authorization of its own."""
    payer = Payer()

    def paid(server: Server, connections: int) -> Callable[[], float]:
        return lambda: server.rate(payer.requests(server, PAYMENTS), 200, connections)

    ratios = {}
    for connections in (CONNECTIONS, PAID_CONNECTIONS):
        rates = compare(rounds, {name: paid(running[name], connections) for name in ("package", "broker")})
        ratios[connections] = rates["broker"] / rates["package"]
    print(f"paid run / package's paid run, {CONNECTIONS} connections: {ratios[CONNECTIONS]:.2f} (no target)")
    name = f"paid run / package's paid run, {PAID_CONNECTIONS} connections"
    return judge(name, ratios[PAID_CONNECTIONS], PAID_VS_PACKAGE)


def memory_growth(broker: Server, start_kb: int) -> tuple[float, float]:
    """Resident memory after 20,000 requests over `start_kb`, and over memory half-way.

    Every tenth request is one that nobody asked before, so that offers are made and kept.
    """

    def batch(first: int, count: int) -> list[bytes]:
        known = broker.request(BODY)
        return [
            broker.request({"code": f"print({number})"}) if number % 10 == 0 else known
            for number in range(first, first + count)
        ]

    half = MEMORY_REQUESTS // 2
    broker.rate(batch(0, half), 402)
    half_kb = broker.memory_kb()
    broker.rate(batch(half, half), 402)
    end_kb = broker.memory_kb()
    return end_kb / start_kb, end_kb / half_kb


def judge(name: str, ratio: float, target: float, *, at_most: bool = False) -> bool:
    good = ratio <= target if at_most else ratio >= target
    word = "at most" if at_most else "at least"
    print(f"{name}: {ratio:.2f} (target: {word} {target:g}){'' if good else '  MISSED'}", flush=True)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description="The broker's gate against two named baselines.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=["challenge", "paid", "memory"])
    options = parser.parse_args()

    def wanted(part: str) -> bool:
        return options.only in {None, part}

    good = []
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder)) as running:
        start_kb = running["broker"].memory_kb()
        if wanted("challenge"):
            good += challenges(options.rounds, running)
        if wanted("paid"):
            good.append(paid_runs(options.rounds, running))
        if wanted("memory"):
            from_start, from_half = memory_growth(running["broker"], start_kb)
            print(f"memory after {MEMORY_REQUESTS} challenges / at start: {from_start:.2f}")
            name = f"memory after {MEMORY_REQUESTS} challenges / after half of them"
            good.append(judge(name, from_half, MEMORY_GROWTH, at_most=True))
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
