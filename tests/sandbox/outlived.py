"""An executor to be killed: `python -m tests.sandbox.outlived <marker> <yes|no>`.

It starts a run that would last for minutes, says `running`, and waits. `no` takes `--die-with-parent` away.
"""

import asyncio
import sys

from executor.sandbox.engine import Options, Sandbox
from shared.jobs import RunRequest
from tests.executor.conftest import with_marker
from tests.sandbox.weakened import arguments, without

CODE = "import os, time\nif os.fork() == 0: os.setsid()\ntime.sleep(50)"
PROCESSES = 5
"""This one, bwrap, its init and both of the run's carry the marker."""


async def main(marker: str, kept: str) -> None:
    if kept == "no":
        arguments(without("--die-with-parent"))
    # Without cgroups: any executor that starts meanwhile would end what a dead one left in its own.
    sandbox = Sandbox(Options(slots=1, accounting="watchdog"))
    await sandbox.open()
    running = asyncio.create_task(sandbox.run(RunRequest(code=CODE, args=[marker], timeout_s=60)))
    while len(with_marker(marker)) < PROCESSES:
        await asyncio.sleep(0.02)
    sys.stdout.write("running\n")
    sys.stdout.flush()
    await running


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
