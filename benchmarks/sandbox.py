"""One sandboxed `print(1)` against the same program run bare, in turns, in one process.

Prints the ratio of the medians: what isolation costs. `python benchmarks/sandbox.py [ROUNDS]`.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from executor.sandbox.engine import Options, Sandbox
from shared.jobs import RunRequest
from shared.logs import configure_logging

CODE = "print(1)"


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


async def main(rounds: int) -> None:
    configure_logging("benchmark", "error")
    sandbox = Sandbox(Options())
    await sandbox.open()
    if sandbox.state != "available":
        sys.exit(f"not measured: {sandbox.reason}")
    python = sandbox.runtimes["python"].path
    bare: list[float] = []
    inside: list[float] = []
    request = RunRequest(code=CODE)
    for _ in range(rounds):
        bare.append(
            timed(lambda: subprocess.run([python, "-I", "-c", CODE], capture_output=True, check=True))
        )
        began = time.perf_counter()
        result = await sandbox.run(request)
        inside.append(time.perf_counter() - began)
        if result.stdout != "1\n":
            sys.exit(f"wrong output: {result}")
    await sandbox.close()
    ratio = statistics.median(inside) / statistics.median(bare)
    print(
        f"sandboxed / bare `{python} -I -c '{CODE}'`: {ratio:.2f} (medians of {rounds}, {sandbox.isolation})"
    )


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
