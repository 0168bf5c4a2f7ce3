"""Gives services their deaths, one after another, and brings each back."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tests.faults.faulty import ALL_POINTS
from tests.support import programs
from tests.support.services import Process, Stack

NTH = 4
"""Each death comes at the fourth time its point is passed."""
PATIENCE_S = 110.0


def launch_doomed(stack: Stack, point: str) -> Process:
    """Start the point's service so that it will die there."""
    service = ALL_POINTS[point][0]
    log = stack.home / f"{service}.log"
    environment = {
        **stack.environment,
        f"{service.upper()}_PORT": str(stack.ports[service]),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    with log.open("ab") as output:
        popen = programs.start(
            "tests.faults.faulty", service, point, str(NTH), env=environment, cwd=stack.home, stdout=output
        )
    process = Process(service, f"http://127.0.0.1:{stack.ports[service]}", log, popen)
    stack.processes[service] = process
    return process


async def reap(stack: Stack, points: Sequence[str], died: list[str]) -> None:
    """The services die in parallel, each at its `points` in their order; `died` says how far that is."""
    services = {ALL_POINTS[point][0] for point in points}
    await asyncio.gather(
        *(_deaths_of(stack, name, [p for p in points if ALL_POINTS[p][0] == name], died) for name in services)
    )


async def _deaths_of(stack: Stack, service: str, points: list[str], died: list[str]) -> None:
    for point in points:
        await asyncio.to_thread(stack.processes[service].stop)
        doomed = await asyncio.to_thread(launch_doomed, stack, point)
        status = await asyncio.to_thread(doomed.popen.wait, PATIENCE_S)
        assert status == -9, f"{point}: {service} ended with {status}\n{doomed.output()[-2000:]}"
        died.append(point)
    await asyncio.to_thread(lambda: stack.launch(service).wait_ready())
