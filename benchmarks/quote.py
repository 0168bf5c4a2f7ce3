"""A price from the quote service, against a bare FastAPI route; many providers, against one.

Every server is a uvicorn process of its own (uvloop, httptools, one worker), the load client another.
Cached: the same question again and again, against a FastAPI route that returns a model of the very same
answer. Uncached: every question a new one, so that ten providers that take 100 ms each are asked, against one
such provider. Rounds alternate; what is printed are ratios of medians within this run.

`python benchmarks/quote.py [--rounds N] [--only cached|uncached]`; the exit code is 1 when a target is
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

import httpx
from _measure import Server, compare, judge, starting

FACTORY = "--factory"
ASK = {"codeSize": 1024, "language": "python"}
QUERY = "/quote?operation=execute&size=1024&language=python"
QUESTIONS = 6000
"""In one round: it lasts long enough for what is kept to run out and be made again."""
NEW_QUESTIONS = 20

CACHED_VS_BARE = 1.3
TEN_VS_ONE = 1.5


@contextmanager
def executor(home: Path) -> Iterator[Server]:
    with starting(home) as start:
        server = start("executor", "benchmarks._quotes:executor", FACTORY)
        server.wait_ready()
        yield server


@contextmanager
def cached_servers(home: Path, executor_url: str) -> Iterator[dict[str, Server]]:
    answer = home / "answer.json"
    with starting(home) as start:
        settings = {
            "GALAKSIO_HOME": str(home),
            "EXECUTOR_SERVICE_URL": executor_url,
            "REMOTE_PROVIDERS": "off",
        }
        quote = start("quote", "quote.main:app", **settings)
        quote.wait_ready()
        answer.write_bytes(httpx.post(f"{quote.url}/quote/run", json=ASK, trust_env=False).content)
        bare = start("bare", "benchmarks._quotes:bare", FACTORY, ANSWER_FILE=str(answer))
        bare.wait_ready()
        yield {"quote": quote, "bare": bare}


def cached(rounds: int, home: Path, executor_url: str) -> list[bool]:
    """Print and judge what an answer takes that was given before."""

    def rate(server: Server, method: str, path: str, body: bytes) -> Callable[[], float]:
        return lambda: server.rate([server.request(method, path, body)] * QUESTIONS, 200)

    good = []
    with cached_servers(home, executor_url) as running:
        for method, path, body in (("POST", "/quote/run", json.dumps(ASK).encode()), ("GET", QUERY, b"")):
            rates = compare(
                rounds, {name: rate(server, method, path, body) for name, server in running.items()}
            )
            name = f"time of a cached {method} {path.partition('?')[0]} / bare FastAPI route"
            good.append(judge(name, rates["bare"] / rates["quote"], CACHED_VS_BARE, at_most=True))
    return good


def uncached(rounds: int, home: Path, executor_url: str) -> bool:
    """Print and judge what it takes to ask ten providers."""
    sizes = itertools.count(1)

    def rate(server: Server) -> Callable[[], float]:
        def measure() -> float:
            asks = [json.dumps({"codeSize": next(sizes)}).encode() for _ in range(NEW_QUESTIONS)]
            return server.rate([server.request("POST", "/quote/run", ask) for ask in asks], 200, 1)

        return measure

    with starting(home) as start:
        settings = {"EXECUTOR_SERVICE_URL": executor_url, "SELLER_URL": f"{executor_url}/seller"}
        running = {
            f"{count}": start(
                f"sellers{count}", "benchmarks._quotes:sellers", FACTORY, SELLERS=str(count), **settings
            )
            for count in (1, 10)
        }
        for server in running.values():
            server.wait_ready()
        rates = compare(rounds, {name: rate(server) for name, server in running.items()})
    print(f"ten providers of 100 ms each: {1000 / rates['10']:.0f} ms (no target)", flush=True)
    return judge(
        "time of asking ten providers / one provider", rates["1"] / rates["10"], TEN_VS_ONE, at_most=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="The quote service against a bare route and one provider.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=["cached", "uncached"])
    options = parser.parse_args()
    good = []
    with tempfile.TemporaryDirectory() as folder, executor(Path(folder)) as running:
        if options.only in {None, "cached"}:
            good += cached(options.rounds, Path(folder), running.url)
        if options.only in {None, "uncached"}:
            good.append(uncached(options.rounds, Path(folder), running.url))
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
