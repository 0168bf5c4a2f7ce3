"""A get of a key through the broker, against a bare FastAPI route that does one GET of Redis.

Every server is a uvicorn process of its own (uvloop, httptools, one worker) on the same real Valkey, the load
client another. A get through the broker checks the token, counts the operation, and reads value and ttl. What
counting costs is told by the same broker with a script that does all but count. Rounds alternate; what is
printed are ratios of medians within this run, and no target depends on how fast this machine is.

`python benchmarks/cache.py [--rounds N]`; the exit code is 1 when a target is missed.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from _measure import FACTORY, READY_S, Server, broker_settings, compare, judge, starting
from redis.asyncio import Redis

from broker.caches.tokens import Tokens
from cli.valkey import Valkey, find_valkey
from shared.caches.router import new_cache_id, open_caches

KEY, VALUE = "user:1", {"name": "Ada", "visits": 36}
TOKEN_KEY = "a-key-for-benchmarks-only"
GETS = 4000
"""In one round."""

GET_VS_BARE = 1.5
COUNTED_VS_NOT = 1.2


@contextmanager
def valkey(folder: Path) -> Iterator[str]:
    """The address of a real one, started as `galaksio up` does."""
    found = find_valkey(folder)
    if found is None:
        sys.exit("not measured: there is no Valkey for this platform")
    command, lock = found.prepare()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, pass_fds=(lock,), stdout=log, stderr=log)
    os.close(lock)
    try:
        _wait_ready(found)
        yield found.url
    finally:
        process.terminate()
        process.wait()


def _wait_ready(found: Valkey) -> None:
    deadline = time.monotonic() + READY_S
    while not asyncio.run(found.answers()):
        if time.monotonic() > deadline:
            sys.exit(f"Valkey did not start:\n{(found.folder / 'log').read_text()[-2000:]}")
        time.sleep(0.02)


async def fill(redis_url: str) -> str:
    """Make a cache; keep the value in it, and beside it for the bare route. Returns its id."""
    caches = open_caches(redis_url, None, 2**26)
    cache_id = new_cache_id("redis")
    try:
        await caches.create(cache_id, "us-east-1", 10**9, None)
        await caches.set(cache_id, KEY, VALUE)
    finally:
        await caches.close()
    async with Redis.from_url(redis_url) as redis:
        await redis.set(KEY, json.dumps(VALUE))
    return cache_id


@contextmanager
def servers(home: Path, redis_url: str) -> Iterator[dict[str, Server]]:
    with starting(home) as start:
        neighbours = start("neighbours", "_servers:neighbours", *FACTORY)
        neighbours.wait_ready()
        settings = broker_settings(home, neighbours.url, REDIS_URL=redis_url, CACHE_TOKEN_KEY=TOKEN_KEY)
        running = {"bare": start("bare", "_servers:bare_cache", *FACTORY, REDIS_URL=redis_url)}
        # One after the other: they share a database, and the first one makes it.
        for name, app in (("broker", ("broker.main:app",)), ("uncounted", ("_servers:uncounted", *FACTORY))):
            running[name] = start(name, *app, **settings)
            running[name].wait_ready()
        running["bare"].wait_ready()
        yield running


def gets(server: Server, path: str, **headers: str) -> Callable[[], float]:
    """Measures the rate of gets."""
    requests = [server.request("GET", path, b"", **headers)] * GETS
    return lambda: server.rate(requests, 200)


def measured(rounds: int, home: Path) -> dict[str, float]:
    """Gets per second of each server."""
    with valkey(home / "valkey") as redis_url:
        cache_id = asyncio.run(fill(redis_url))
        path = f"/cache/{cache_id}/{KEY}"
        token = {"Authorization": f"Bearer {Tokens(TOKEN_KEY.encode()).of(cache_id)}"}
        with servers(home, redis_url) as running:
            return compare(
                rounds,
                {
                    "bare": gets(running["bare"], f"/cache/{KEY}"),
                    "broker": gets(running["broker"], path, **token),
                    "uncounted": gets(running["uncounted"], path, **token),
                },
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Gets through the broker against one GET of Redis.")
    parser.add_argument("--rounds", type=int, default=7)
    with tempfile.TemporaryDirectory() as folder:
        rates = measured(parser.parse_args().rounds, Path(folder))
    good = []
    for name, baseline, target in (
        ("get / bare FastAPI route with one GET of Redis", rates["bare"], GET_VS_BARE),
        ("get / the same without counting", rates["uncounted"], COUNTED_VS_NOT),
    ):
        good.append(judge(f"time of a {name}", baseline / rates["broker"], target, at_most=True))
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
