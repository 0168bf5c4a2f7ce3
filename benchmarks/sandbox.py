"""What isolation costs: runs through the executor against the same programs run bare, in turns.

`python benchmarks/sandbox.py [ROUNDS]`. Prints one ratio for each claim (median of the candidate by median of
the baseline, or rates) and ends with 1 when a target is missed. The pool refills between the runs of the
latency claims, as it does when a host is not busy; throughput is sustained and pays for its refills.
"""

import asyncio
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvloop

from executor.sandbox.admit import NICENESS
from executor.sandbox.engine import Options, Sandbox
from executor.sandbox.options import cores
from shared.jobs import Language, RunRequest
from shared.logs import configure_logging

REPO = Path(__file__).resolve().parents[1]
IMPORTS = "import json, re, datetime, random, collections; print(1)"
PARALLEL, BATCH, BATCHES = 8, 160, 4
RSS_RUNS, RSS_BASE = 2000, 500
REST_S = 0.05
"""After the pool has settled: the last import ahead comes to its end."""

Time = Callable[[], Awaitable[float]]


class Report:
    """Prints each claim as it is measured, remembers whether one was missed."""

    def __init__(self) -> None:
        self.missed = False

    def claim(self, what: str, ratio: float, target: float, *, at_least: bool = False) -> None:
        held = ratio >= target if at_least else ratio <= target
        self.missed |= not held
        sign = "≥" if at_least else "≤"
        print(f"{what}: {ratio:.2f} (target {sign} {target}) {'ok' if held else 'MISSED'}", flush=True)


def bare_time(words: list[str]) -> float:
    began_s = time.perf_counter()
    subprocess.run(words, capture_output=True, check=True)
    return time.perf_counter() - began_s


async def in_turns(rounds: int, words: list[str], candidate: Time) -> float:
    """Median of `candidate` by median of `words`, each measured `rounds` times."""
    bare: list[float] = []
    ours: list[float] = []
    for _ in range(rounds):
        bare.append(bare_time(words))
        ours.append(await candidate())
    return statistics.median(ours) / statistics.median(bare)


def through(sandbox: Sandbox, code: str, language: Language) -> Time:
    async def timed() -> float:
        while sandbox.pool is not None and not sandbox.pool.settled:
            await asyncio.sleep(0.005)
        await asyncio.sleep(REST_S)
        began_s = time.perf_counter()
        result = await sandbox.run(RunRequest(code=code, language=language))
        took_s = time.perf_counter() - began_s
        if result.stdout != "1\n":
            sys.exit(f"wrong output: {result}")
        return took_s

    return timed


async def latency(sandbox: Sandbox, rounds: int, report: Report) -> None:
    python = sandbox.runtimes["python"].path
    for name, code, target in (("print(1)", "print(1)", 0.75), ("common imports", IMPORTS, 0.5)):
        ratio = await in_turns(rounds, [python, "-I", "-c", code], through(sandbox, code, "python"))
        report.claim(f"python {name}, pool / bare", ratio, target)
    if node := sandbox.runtimes.get("javascript"):
        code = "console.log(1)"
        ratio = await in_turns(rounds, [node.path, "-e", code], through(sandbox, code, "javascript"))
        report.claim(f"javascript {code}, pool / bare", ratio, 1.0)


async def throughput(sandbox: Sandbox, report: Report) -> None:
    words = [sandbox.runtimes["python"].path, "-I", "-c", "print(1)"]
    request = RunRequest(code="print(1)")
    bare_s = ours_s = bare_cpu_s = ours_cpu_s = 0.0

    async def worker() -> None:
        for _ in range(BATCH // PARALLEL):
            await sandbox.run(request)

    def bare_batch() -> None:
        with ThreadPoolExecutor(PARALLEL) as threads:
            list(threads.map(lambda _: bare_time(words), range(BATCH)))

    for _ in range(BATCHES):
        began_s, began_cpu_s = time.perf_counter(), cpu_s()
        await asyncio.to_thread(bare_batch)
        bare_s += time.perf_counter() - began_s
        bare_cpu_s += cpu_s() - began_cpu_s
        began_s, began_cpu_s = time.perf_counter(), cpu_s()
        await asyncio.gather(*(worker() for _ in range(PARALLEL)))
        ours_s += time.perf_counter() - began_s
        ours_cpu_s += cpu_s() - began_cpu_s
    report.claim(
        f"python print(1), rate of {PARALLEL} in parallel / bare", bare_s / ours_s, 0.6, at_least=True
    )
    print(f"  its CPU time: bare / ours {bare_cpu_s / ours_cpu_s:.2f}, whatever else this machine does")


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


@asynccontextmanager
async def executor() -> AsyncIterator[tuple[httpx.AsyncClient, int]]:
    """A real executor process: its client and its pid."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        settings = {"GALAKSIO_HOME": home, "EXECUTOR_PORT": str(port), "LOG_LEVEL": "error"}
        process = subprocess.Popen(
            [sys.executable, "-m", "executor"], cwd=REPO, env={"PATH": os.environ["PATH"], **settings}
        )
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False
            ) as client:
                while True:
                    try:
                        if (await client.get("/health/ready")).status_code == 200:
                            break
                    except httpx.TransportError:
                        await asyncio.sleep(0.05)
                yield client, process.pid
        finally:
            process.terminate()
            process.wait()


async def post(client: httpx.AsyncClient) -> None:
    answer = await client.post("/run", json={"code": "print(1)"})
    if answer.status_code != 200 or answer.json()["result"]["stdout"] != "1\n":
        sys.exit(f"wrong answer: {answer.text}")


async def over_http(python: str, rounds: int, report: Report) -> None:
    async with executor() as (client, pid):

        async def timed() -> float:
            await asyncio.sleep(0.25)  # the pool of that process refills meanwhile
            began_s = time.perf_counter()
            await post(client)
            return time.perf_counter() - began_s

        await asyncio.sleep(3)
        ratio = await in_turns(rounds, [python, "-I", "-c", "print(1)"], timed)
        report.claim("python print(1), POST /run / bare", ratio, 1.5)

        async def worker(runs: int) -> None:
            for _ in range(runs):
                await post(client)

        async def many(runs: int) -> None:
            await asyncio.gather(*(worker(runs // PARALLEL) for _ in range(PARALLEL)))

        await many(RSS_BASE)
        base = rss_pages(pid)
        await many(RSS_RUNS - RSS_BASE)
        report.claim(
            f"memory of the executor, after {RSS_RUNS} runs / after {RSS_BASE}", rss_pages(pid) / base, 1.05
        )


def rss_pages(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


async def main(rounds: int) -> None:
    configure_logging("benchmark", "error")
    os.nice(NICENESS)  # as the runs: what else this machine does weighs on both alike
    sandbox = Sandbox(Options(pool=2 * cores(), queue=64))
    await sandbox.open()
    if sandbox.state != "available":
        sys.exit(f"not measured: {sandbox.reason}")
    print(f"{sandbox.isolation}, {cores()} cores, medians of {rounds}")
    report = Report()
    python = sandbox.runtimes["python"].path
    try:
        await latency(sandbox, rounds, report)
        await throughput(sandbox, report)
    finally:
        await sandbox.close()
    await over_http(python, rounds, report)
    sys.exit(report.missed)


uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 40))
