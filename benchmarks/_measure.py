"""What the benchmarks of the services share: servers as processes, rates in alternating rounds, verdicts."""

import base64
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import httpx

HERE = Path(__file__).parent
CONNECTIONS = 8
READY_S = 30
_OURS = ("X402_", "GALAKSIO_")
FACTORY = ("--app-dir", str(HERE), "--factory")
"""Arguments for a server of `_servers.py`."""


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
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
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
        return self._status_kb("VmRSS")

    def peak_kb(self) -> int:
        """The most that was resident since `forget_peak`."""
        return self._status_kb("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def request(self, method: str, path: str, content: bytes, **headers: str) -> bytes:
        given = {"Host": f"127.0.0.1:{self.port}", "Content-Type": "application/json", **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        return f"{method} {path} HTTP/1.1\r\n{lines}Content-Length: {len(content)}\r\n\r\n".encode() + content

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

    def _status_kb(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None
        return int(found[1])


class Start(Protocol):
    """Starts a server under a name, without waiting for it."""

    def __call__(self, name: str, app: str, *arguments: str, **environment: str) -> Server: ...


@contextmanager
def starting(home: Path) -> Iterator[Start]:
    """What it starts, with logs in `home`, ends with the block, newest first."""
    with ExitStack() as stack:

        def start(name: str, app: str, *arguments: str, **environment: str) -> Server:
            server = Server(home / f"{name}.log", app, *arguments, **environment)
            stack.callback(server.process.wait)
            stack.callback(server.process.terminate)
            return server

        yield start


def broker_settings(home: Path, neighbours: str, **more: str) -> dict[str, str]:
    """Of a broker that is in nobody's way, between neighbours that are all at one URL unless told."""
    return {
        "GALAKSIO_HOME": str(home),
        "X402_WALLET_ADDRESS": "0x" + "12" * 20,
        "X402_FACILITATOR_URL": neighbours,
        "QUOTE_SERVICE_URL": neighbours,
        "EXECUTOR_SERVICE_URL": neighbours,
        "CHAIN_RPC_URL": neighbours,
        "DATABASE_URL": "",
        "RATE_LIMIT_PER_IP": "100000000/minute",
        "RATE_LIMIT_PER_PAYER": "100000000/minute",
        "PAYER_EXPOSURE_USD": "1000000",
        "OFFER_TTL_S": "3600",
        **more,
    }


def compare(rounds: int, measured: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Medians of alternating rounds; the first round of each only warms it up."""
    names = list(measured)
    found: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds + 1):
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            value = measured[name]()
            if round_:
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def judge(name: str, measured: float, target: float, *, at_most: bool = False, unit: str = "") -> bool:
    good = measured <= target if at_most else measured >= target
    word = "at most" if at_most else "at least"
    verdict = "" if good else "  MISSED"
    print(f"{name}: {measured:.2f}{unit} (target: {word} {target:g}{unit}){verdict}", flush=True)
    return good
