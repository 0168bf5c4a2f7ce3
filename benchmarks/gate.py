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
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from _measure import CONNECTIONS, FACTORY, Server, broker_settings, compare, judge, starting
from _payer import REQUIRED, Payer

BODY = {"code": "print(1)"}
PAID_CONNECTIONS = 32
"""Enough to keep a server busy while its disk and its neighbours answer; with 8 it waits for its disk."""
CHALLENGES = 6000
"""In one round: it lasts long enough for what the broker keeps to run out and be made again."""
PAYMENTS = 400
MEMORY_REQUESTS = 20_000

CHALLENGE_VS_PACKAGE = 3.0
CHALLENGE_VS_BARE = 1.0
PAID_VS_PACKAGE = 2.0
MEMORY_GROWTH = 1.05


@contextmanager
def servers(home: Path) -> Iterator[dict[str, Server]]:
    with starting(home) as start:
        neighbours = start("neighbours", "_servers:neighbours", *FACTORY)
        neighbours.wait_ready()
        running = {
            "bare": start("bare", "_servers:bare", *FACTORY),
            "package": start("package", "_servers:packaged", *FACTORY, NEIGHBOURS_URL=neighbours.url),
            "broker": start("broker", "broker.main:app", **broker_settings(home, neighbours.url)),
        }
        for server in running.values():
            server.wait_ready()
        yield running


def run_request(server: Server, body: dict[str, Any], padding: str = "", **headers: str) -> bytes:
    return server.request("POST", "/run", (json.dumps(body) + padding).encode(), **headers)


def unlike(server: Server, first: int, count: int) -> list[bytes]:
    """`count` requests that mean the same: the number of each stands behind its body in spaces and tabs."""
    paddings = (f"{number:020b}".translate({48: " ", 49: "\t"}) for number in range(first, first + count))
    return [run_request(server, BODY, padding) for padding in paddings]


def challenges(rounds: int, running: dict[str, Server]) -> list[bool]:
    """Print and judge the rate of 402s, from memory and without."""
    numbers = itertools.count(step=CHALLENGES)
    measured: dict[str, Callable[[], float]] = {
        "bare": lambda: running["bare"].rate([run_request(running["bare"], BODY)] * CHALLENGES, 200),
        "package": lambda: running["package"].rate([run_request(running["package"], BODY)] * CHALLENGES, 402),
        "broker": lambda: running["broker"].rate([run_request(running["broker"], BODY)] * CHALLENGES, 402),
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


def paid_requests(payer: Payer, server: Server, count: int) -> list[bytes]:
    """`count` requests, each with an authorization of its own, for what the server asks now."""
    told = httpx.post(f"{server.url}/run", json=BODY, trust_env=False)
    return [run_request(server, BODY, **paid) for paid in payer.headers(told.headers[REQUIRED], count)]


def paid_runs(rounds: int, running: dict[str, Server]) -> bool:
    """Print and judge the rate of paid runs, each with an authorization of its own."""
    payer = Payer()

    def paid(server: Server, connections: int) -> Callable[[], float]:
        return lambda: server.rate(paid_requests(payer, server, PAYMENTS), 200, connections)

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
        known = run_request(broker, BODY)
        return [
            run_request(broker, {"code": f"print({number})"}) if number % 10 == 0 else known
            for number in range(first, first + count)
        ]

    half = MEMORY_REQUESTS // 2
    broker.rate(batch(0, half), 402)
    half_kb = broker.memory_kb()
    broker.rate(batch(half, half), 402)
    end_kb = broker.memory_kb()
    return end_kb / start_kb, end_kb / half_kb


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
