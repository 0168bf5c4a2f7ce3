"""Disks, inodes and descriptors: filled, and what is left of them for the next run."""

from executor.sandbox.limits import LIMITS
from shared.jobs import RunResult
from tests.sandbox.attack import Attack, Expect, Verdict, reports, says, tail
from tests.sandbox.leftovers import MARK

FILL = """
written = 0
try:
    with open(sys.argv[1] + '/fill', 'wb', buffering=0) as file:
        for _ in range(120): written += file.write(b'x' * (1 << 20))
except OSError as exc: print(errno.errorcode[exc.errno], end=' ')
print(written)
"""
# What inodes use counts like all memory: with most of that taken, their part is soon reached.
INODES = """
kept = b'x' * (440 << 20); count = 0
print('begun', flush=True)
try:
    while True: os.mknod(f'/tmp/{os.getpid()}-{count}'); count += 1
except OSError as exc: print(errno.errorcode[exc.errno], flush=True)
"""
DESCRIPTORS = """
count = 3
try:
    for _ in range(600): os.dup(0); count += 1
    print(count, 'unlimited')
except OSError as exc: print(count, errno.errorcode[exc.errno])
"""
MANY_DESCRIPTORS = """
def hold():
    with contextlib.suppress(OSError):
        while True: os.open('/dev/null', os.O_RDONLY)
    os.write(ready[1], b'x'); time.sleep(0.5)
ready = os.pipe()
for _ in range(50): spawn(hold)
for _ in range(50): os.read(ready[0], 1)
print('begun')
"""
PIPES = """
import fcntl
def fill():
    with contextlib.suppress(OSError):
        while True:
            end = os.pipe()[1]; os.set_blocking(end, False)
            with contextlib.suppress(OSError): fcntl.fcntl(end, 1031, 1 << 20)
            with contextlib.suppress(BlockingIOError):
                while True: os.write(end, b'x' * 65536)
    os.write(ready[1], b'x'); time.sleep(0.5)
ready = os.pipe()
for _ in range(8): spawn(fill)
for _ in range(8): os.read(ready[0], 1)
print('begun')
"""
PERSIST = f"""
places = []
for place in '/box', '/box/out', '/tmp', '/dev/shm', '/var/tmp', '/usr', '/run', '/dev', '/':
    with contextlib.suppress(OSError), open(f'{{place}}/{MARK}', 'w') as file: places.append(place)
print(*places)
"""
NOT_FOUND = f"""
import os
found = [p for p in ('/box', '/box/out', '/tmp', '/dev/shm') if os.path.exists(p + '/{MARK}')]
print('found', *found) if found else print('served')
"""
PATCHED = """
import sys, sysconfig
for folder in {*sys.path, sysconfig.get_path('stdlib'), sysconfig.get_path('purelib')}:
    attempt('patched', open, folder + '/sitecustomize.py', 'w') if folder.startswith('/usr') else None
attempt('shadowed', os.mkdir, '/usr/lib/galaksio-attack')
"""


def full(limit_bytes: int) -> Expect:
    def expect(result: RunResult) -> Verdict:
        ending, _, written = result.stdout.strip().partition(" ")
        held = ending == "ENOSPC" and 0 < int(written) <= limit_bytes
        return None if held else f"it was not full at {limit_bytes} bytes ({tail(result)})"

    return expect


def inodes_bounded(result: RunResult) -> Verdict:
    held = result.oom_killed or "ENOSPC" in result.stdout
    return None if held and "begun" in result.stdout else f"inodes are not bounded ({tail(result)})"


def persisted(result: RunResult) -> Verdict:
    """It could write in its own places, and only there."""
    held = result.stdout == "/box /box/out /tmp /dev/shm\n"
    return None if held else f"it wrote elsewhere ({tail(result)})"


def descriptors_bounded(result: RunResult) -> Verdict:
    count, _, ending = result.stdout.strip().partition(" ")
    held = count.isdigit() and 200 <= int(count) <= LIMITS.descriptors and ending == "EMFILE"
    return None if held else f"descriptors are not bounded ({tail(result)})"


ATTACKS = [
    Attack("filling /box", FILL, full(LIMITS.box_bytes), request={"args": ["/box"]}),
    Attack("filling /tmp", FILL, full(LIMITS.tmp_bytes), request={"args": ["/tmp"]}),
    Attack("filling /dev/shm", FILL, full(LIMITS.shm_bytes), request={"args": ["/dev/shm"]}),
    Attack("flood of inodes", INODES, inodes_bounded, timeout_s=30.0, warm_up_s=0.3),
    Attack("flood of descriptors", DESCRIPTORS, descriptors_bounded),
    Attack("descriptors of many processes", MANY_DESCRIPTORS, says("begun\n"), warm_up_s=0.3),
    Attack("pipes filled to the brim", PIPES, says("begun\n"), warm_up_s=0.2),
    Attack("files for the next run", PERSIST, persisted, afterwards=NOT_FOUND),
    Attack("a patched standard library", PATCHED, reports(shadowed="EROFS")),
]
