"""What is bounded: memory, processes, inodes, sockets, and the service while they are tried."""

import asyncio
import os

import pytest

from executor.sandbox.engine import Sandbox
from executor.sandbox.limits import LIMITS
from tests.executor.conftest import Run, descendants

SLACK = 1.35
"""The watchdog looks every 20 ms: what is written between two looks comes on top."""

HEAP = "x = []\nwhile True: x.append(bytearray(b'x' * (8 << 20)))"
CHILDREN = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        x = bytearray(b'x' * (150 << 20)); time.sleep(60)
time.sleep(60)
"""
SHARED = """
import mmap, time
x = [mmap.mmap(-1, 64 << 20) for _ in range(16)]
for m in x:
    for i in range(0, 64 << 20, 4096): m[i] = 1
time.sleep(60)
"""
MEMFD = """
import os, time
fd = os.memfd_create('bomb')
for _ in range(1024): os.write(fd, b'x' * (1 << 20))
time.sleep(60)
"""


@pytest.mark.parametrize("bomb", [HEAP, CHILDREN, SHARED], ids=["heap", "children", "shared maps"])
async def test_memory_is_bounded_and_the_neighbour_is_served(run_any: Run, bomb: str) -> None:
    attack = asyncio.create_task(run_any(bomb, timeout=15))
    await asyncio.sleep(0.3)
    assert (await run_any("print('served')")).stdout == "served\n"
    result = await attack
    assert result.oom_killed and not result.timed_out, result
    assert result.peak_memory_bytes is not None
    assert result.peak_memory_bytes <= LIMITS.memory_bytes * SLACK


async def test_a_memfd_cannot_hold_more_than_the_run(run_any: Run, any_sandbox: Sandbox) -> None:
    result = await run_any(MEMFD, timeout=15)
    if "watchdog" in any_sandbox.isolation:
        assert result.exit_code == 1 and "Operation not permitted" in result.stderr
    else:
        assert result.oom_killed


async def test_files_in_memory_count(run_any: Run) -> None:
    code = "x = bytearray(400 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1\n"
    code += "for d in '/box', '/tmp', '/dev/shm':\n"
    code += " open(d + '/f', 'wb').write(bytes(60 << 20))\nimport time; time.sleep(30)"
    result = await run_any(code, timeout=15)
    assert result.oom_killed


async def test_a_flood_of_empty_files_is_bounded(run_any: Run) -> None:
    code = "import os\nn = os.fork()\ni = 0\nwhile True:\n i += 1\n os.mknod(f'/tmp/{n}-{i}')"
    result = await run_any(code, timeout=60)
    assert result.oom_killed or (result.exit_code == 1 and "No space left" in result.stderr), result


async def test_a_flood_of_sockets_is_bounded(run_any: Run) -> None:
    code = """
import os, socket, time
for _ in range(40):
    if os.fork() == 0:
        kept = []
        while True:
            try:
                a, b = socket.socketpair(); kept += [a, b]
                a.setblocking(False)
                while True: a.send(b'x' * 65536)
            except BlockingIOError: pass
            except OSError: time.sleep(60)
time.sleep(60)
"""
    result = await run_any(code, timeout=20)
    assert result.oom_killed, result


async def test_a_fork_bomb_meets_the_limit_and_leaves_nothing(run_any: Run) -> None:
    code = """
import os, sys, time
n = 0
try:
    while True:
        if os.fork() == 0: time.sleep(60)
        n += 1
except OSError as e: print(n, e.errno)
"""
    result = await run_any(code, timeout=10)
    count, number = map(int, result.stdout.split())
    assert 50 <= count < LIMITS.processes and number == 11
    assert descendants(os.getpid()) == []


async def test_a_classic_fork_bomb_ends_and_the_next_run_works(run_any: Run) -> None:
    await run_any(":(){ :|:& };:; wait", "bash", timeout=2)
    assert descendants(os.getpid()) == []
    assert (await run_any("print(1)")).stdout == "1\n"


async def test_forks_of_one_run_do_not_use_up_those_of_another(run_any: Run) -> None:
    bomb = (
        "import os, time\nfor _ in range(55):\n if os.fork() == 0: time.sleep(5); os._exit(0)\ntime.sleep(5)"
    )
    attack = asyncio.create_task(run_any(bomb, timeout=1.5))
    await asyncio.sleep(0.5)
    assert (await run_any(bomb.replace("sleep(5)", "sleep(0.1)"))).exit_code == 0
    await attack


async def test_descriptors_are_bounded(run: Run) -> None:
    code = "import os\nx = []\ntry:\n while True: x.append(os.dup(0))\n"
    code += "except OSError as e: print(len(x), e.errno)"
    count, number = map(int, (await run(code)).stdout.split())
    assert (number, count <= LIMITS.descriptors) == (24, True)
