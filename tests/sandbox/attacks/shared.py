"""What all runs of one kernel share: counters, locks, queues, and what one could learn from them."""

from shared.jobs import RunResult
from tests.sandbox.attack import Attack, Verdict, reports, tail, timed_out

SYSTEM_V_KEY = 4242
SYSV = f"""
attempt('segment', call, 'shmget', int(world['shm']), 4096, 0)
for name, arguments in dict(shmget=(64, 0o1600), msgget=(0o1600,), semget=(4, 0o1600)).items():
    with contextlib.suppress(OSError): call(name, {SYSTEM_V_KEY}, *arguments)
print('end -')
"""
QUEUES = """
attempt('queue', call, 'mq_open', b'galaksio-attack', os.O_CREAT | os.O_RDWR, 0o600, 0)
"""
# A lock on a file that everybody shares must stand in nobody's way, and go with its run.
LOCK = """
import fcntl
fd = os.open('/usr/bin/env', os.O_RDONLY)
attempt('lock', fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
attempt('lease', fcntl.fcntl, fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
"""
UNLOCKED = """
import fcntl, os
fcntl.flock(os.open('/usr/bin/env', os.O_RDONLY), fcntl.LOCK_EX)  # another test process may have it for now
print('served')
"""
# Marks on shared files tell what others open: a neighbour reads /usr/bin/env all the while.
WATCH = """
import fcntl
signals = []
signal.signal(signal.SIGIO, lambda *_: signals.append(1))
folder = os.open('/usr/bin', os.O_RDONLY)
attempt('dnotify', fcntl.fcntl, folder, fcntl.F_NOTIFY, fcntl.DN_ACCESS | fcntl.DN_MULTISHOT)
attempt('fanotify', call, 'fanotify_init', 0x200, 0)
found = attempt('inotify', call, 'inotify_init1', os.O_NONBLOCK)
if found is not None:
    libc.inotify_add_watch(found, b'/usr/bin', 0x21)
time.sleep(0.4)
if found is not None:
    with contextlib.suppress(BlockingIOError): print('events', len(os.read(found, 65536)))
print('end', len(signals))
"""
WATCHED = """
import time
for _ in range(20): open('/usr/bin/env', 'rb').read(1); time.sleep(0.02)
print('served')
"""
TIMERS = """
import ctypes
kept = 0
timer = ctypes.create_string_buffer(8)
while kept < 20000 and libc.timer_create(1, None, timer) == 0: kept += 1
print('timers', 'many' if kept > 100 else kept)
"""
TERMINALS = """
def hold():
    with contextlib.suppress(OSError):
        while True: os.openpty()
    os.write(ready[1], b'x'); time.sleep(0.3)
ready = os.pipe()
for _ in range(20): spawn(hold)
for _ in range(20): os.read(ready[0], 1)
print('begun')
"""
FUTEX = """
import threading
lock = threading.Lock()
def fight():
    while True:
        with lock: pass
print('begun', flush=True)
for _ in range(40): threading.Thread(target=fight, daemon=True).start()
"""


def begun(result: RunResult) -> Verdict:
    return None if result.stdout == "begun\n" and result.exit_code == 0 else tail(result)


ATTACKS = [
    Attack(
        "System V objects of the host and for the next run",
        SYSV,
        reports(segment=("ENOENT", "EPERM"), end="-"),
        afterwards="print('served') if len(open('/proc/sysvipc/shm').readlines()) == 1 else print('found')",
    ),
    Attack("message queues", QUEUES, reports(queue=("EMFILE", "EPERM"))),
    Attack(
        "locks on files that all runs share",
        LOCK,
        reports(lock=("WORKED None", "EAGAIN"), lease="EACCES"),
        afterwards=UNLOCKED,
    ),
    Attack(
        "watching what neighbours read",
        WATCH,
        reports(dnotify="EPERM", fanotify="EPERM", inotify="EPERM", end="0"),
        neighbour=WATCHED,
    ),
    Attack(
        "the machine's asynchronous requests",
        "attempt('setup', call, 'io_setup', 1024, ctypes.create_string_buffer(8))",
        reports(setup="EPERM"),
    ),
    Attack("timers by the thousand", TIMERS, reports(timers="many")),
    Attack("all terminals there are", TERMINALS, begun, warm_up_s=0.3),
    Attack("forty threads on one lock", FUTEX, timed_out, timeout_s=2.0, warm_up_s=0.2),
]
