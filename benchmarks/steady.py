"""The broker under a minute of load at 32 connections: it stays quick, its memory flat, its log clean.

Batches of unpaid requests (told again, and each different) and of paid runs follow each other for a minute;
quote, facilitator and executor answer at once. Meanwhile another process asks for `/health` every 20 ms.

Printed are the slowest hundredth of `/health` beside the 20 ms that it may take, and over that of the idle
broker; memory at the end over memory after the first third; how many lines of the log tell of an error.

`python benchmarks/steady.py [--seconds N]`; the exit code is 1 when a target is missed.
"""

import argparse
import http.client
import itertools
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from _measure import FACTORY, Server, broker_settings, judge, starting
from _payer import REQUIRED, Payer

from broker.payments.offers import MEMORY_OFFERS

CONNECTIONS = 32
SECONDS = 60
PROBE_EVERY_S = 0.02
TOLD_AGAIN, UNLIKE, PAID = 4000, 1500, 250
"""Requests of one batch of each sort."""
BATCHES = 60
"""Prepared before the minute begins; what is sent after them is prepared in between."""
BODY = {"code": "print(1)"}

HEALTH_MS = 20.0
MEMORY_GROWTH = 1.05


class Probe:
    """Asks for `/health` over a connection of its own until it is told to stop; in another process."""

    def __init__(self, server: Server) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop, self._told = context.Event(), context.SimpleQueue()
        self._process = context.Process(target=ask, args=(server.port, self._stop, self._told), daemon=True)
        self.took_ms: list[float] = []

    @contextmanager
    def asking(self) -> Iterator[None]:
        self._process.start()
        try:
            yield
        finally:
            self._stop.set()
            self.took_ms = self._told.get()
            self._process.join()

    def p99_ms(self) -> float:
        return statistics.quantiles(self.took_ms, n=100)[98]


def ask(port: int, stop: Any, told: Any) -> None:
    """Tell how long each answer took, in milliseconds; a refusal counts as for ever."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    took_ms = []
    while not stop.wait(PROBE_EVERY_S):
        began = time.perf_counter()
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
        took_ms.append((time.perf_counter() - began) * 1000 if answer.status == 200 else float("inf"))
    told.put(took_ms)


def post_run(server: Server, body: dict[str, str], **headers: str) -> bytes:
    return server.request("POST", "/run", json.dumps(body).encode(), **headers)


def batches(broker: Server, numbers: Iterator[int]) -> Iterator[Callable[[], float]]:
    """Work for the broker, prepared for as long as it is asked for."""
    payer = Payer()
    told = httpx.post(f"{broker.url}/run", json=BODY, trust_env=False).headers[REQUIRED]
    while True:
        again = [post_run(broker, BODY)] * TOLD_AGAIN
        unlike = [post_run(broker, {"code": f"print({next(numbers)})"}) for _ in range(UNLIKE)]
        paid = [post_run(broker, BODY, **headers) for headers in payer.headers(told, PAID)]
        for requests, status in ((again, 402), (unlike, 402), (paid, 200)):
            yield lambda requests=requests, status=status: broker.rate(requests, status, CONNECTIONS)


def loaded(broker: Server, seconds: float) -> tuple[float, float]:
    """A time of load; p99 of `/health` in ms, and memory at its end over memory after its first third."""
    work, probe = batches(broker, itertools.count()), Probe(broker)
    ready = [next(work) for _ in range(BATCHES)]
    third_kb = sent = 0
    with probe.asking():
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            (ready.pop(0) if ready else next(work))()
            sent += 1
            if not third_kb and passed > seconds / 3:
                third_kb = broker.memory_kb()
    print(f"{sent} batches, /health asked {len(probe.took_ms)} times", flush=True)
    return probe.p99_ms(), broker.memory_kb() / third_kb


def idle_p99_ms(broker: Server) -> float:
    probe = Probe(broker)
    with probe.asking():
        time.sleep(5)
    return probe.p99_ms()


def errors_in(log: Path) -> list[str]:
    """The lines of a log that tell of something that went wrong."""
    words = ('"level": "error"', '"level": "critical"', "Traceback")
    return [line for line in log.read_text().splitlines() if any(word in line for word in words)]


def main() -> None:
    parser = argparse.ArgumentParser(description="The broker under a minute of load.")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder, starting(Path(folder)) as start:
        home = Path(folder)
        neighbours = start("neighbours", "_servers:neighbours", *FACTORY)
        neighbours.wait_ready()
        broker = start("broker", "broker.main:app", **broker_settings(home, neighbours.url))
        broker.wait_ready()
        idle_ms = idle_p99_ms(broker)
        # As many as a broker keeps in memory: what grows after them is not meant to.
        broker.rate([post_run(broker, {"code": f"print(-{n})"}) for n in range(MEMORY_OFFERS)], 402)
        p99_ms, growth = loaded(broker, seconds)
        errors = errors_in(broker.log)
        print(f"p99 of /health under load / idle: {p99_ms / idle_ms:.1f} (no target)")
        good = [
            judge("p99 of /health under load", p99_ms, HEALTH_MS, at_most=True, unit=" ms"),
            judge("memory at the end / after a third", growth, MEMORY_GROWTH, at_most=True),
            judge("lines in the log that tell of an error", len(errors), 0, at_most=True),
        ]
        print("\n".join(errors[:5]))
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
