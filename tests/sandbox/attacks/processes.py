"""Processes: too many, too stubborn, too long-lived, or somebody else's."""

from executor.sandbox.limits import LIMITS
from shared.jobs import RunResult
from tests.sandbox.attack import Attack, Verdict, both, refused, reports, says, succeeded, tail, timed_out

# 200 of them at most: it has to be survived also where the limit is taken away, to show that it counts.
FORK_BOMB = """
count = 0
for _ in range(200):
    try: pid = os.fork()
    except OSError as exc: print(count, errno.errorcode[exc.errno]); break
    if pid == 0: time.sleep(30)
    count += 1
else: print(count, "unlimited")
"""
# Its processes must not count as the neighbour's, which has the same uid where nobody is root.
FORTY = """
import os, time
for _ in range(40):
    if os.fork() == 0:
        time.sleep(0.3); os._exit(0)
for _ in range(40): os.wait()
print('served')
"""
CLASSIC = """
bomb() { bomb | bomb & }
bomb
echo begun; sleep 30
"""
THREADS = """
import threading
count = 0
try:
    for _ in range(200): threading.Thread(target=time.sleep, args=(30,), daemon=True).start(); count += 1
except RuntimeError: print(count, "EAGAIN", flush=True)
os._exit(0)
"""
ZOMBIES = "for _ in range(50): spawn(lambda: None)\nprint('begun 50 zombies'); time.sleep(0.1)"
DAEMON = """
def daemon():
    os.setsid()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        time.sleep(60)
os.waitpid(spawn(daemon), 0)
print(sum(name.isdigit() for name in os.listdir('/proc')))
"""
HOLDS_STDOUT = "(setsid sleep 60 &) ; (setsid sleep 60 2>/dev/null &) ; sleep 0.05; echo begun"
COMET = """
print('begun', flush=True)
while True:  # every process of it is dead before anybody could aim at it
    if os.fork(): os._exit(0)
"""
CHAIN = '[ $(($1 % 50)) = 1 ] && echo begun; exec bash "$0" $(($1 + 1))'
ALL_SIGNALS = """
for number in range(1, signal.NSIG):
    with contextlib.suppress(OSError, ValueError): signal.signal(number, signal.SIG_IGN)
print('begun', flush=True)
while True: time.sleep(1)
"""
KILL_ALL = """
child = spawn(lambda: time.sleep(60))
attempt('killed', os.kill, -1, signal.SIGKILL)
print('own', os.waitpid(child, 0)[1])
"""
KILL_INIT = """
for number in range(1, signal.NSIG):
    with contextlib.suppress(OSError): os.kill(1, number)
time.sleep(0.05)
print(os.getppid())
"""
KILL_HOST = """
attempt('executor', os.kill, int(world['pid']), 0)
attempt('group', os.killpg, int(world['pid']), 0)
attempt('pidfd', os.pidfd_open, int(world['pid']))
attempt('priority', os.setpriority, os.PRIO_PROCESS, int(world['pid']), 19)
attempt('affinity', os.sched_setaffinity, int(world['pid']), {0})
"""
# Memory of the sandbox's init is the run's own business: what matters is that the answer still comes.
CORRUPT_INIT = """
print('begun', flush=True)
with contextlib.suppress(OSError), open('/proc/1/mem', 'r+b', buffering=0) as memory:
    for line in open('/proc/1/maps'):
        place, rights = line.split()[:2]
        start, end = (int(number, 16) for number in place.split('-'))
        with contextlib.suppress(OSError, OverflowError):
            memory.seek(start); memory.write(b'\\xcc' * (end - start))
"""
PRIORITY = """
attempt('nice', os.setpriority, os.PRIO_PROCESS, 0, -20)
attempt('realtime', os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1))
print('niceness', os.nice(0))
"""
LIMITS_UP = """
import resource
def up(name):
    number = getattr(resource, 'RLIMIT_' + name)
    resource.setrlimit(number, (resource.getrlimit(number)[1] + 1,) * 2)
for name in 'NPROC', 'NOFILE', 'DATA', 'CORE':
    try: up(name); print(name, 'raised')
    except ValueError: print(name, 'EPERM')
"""
OOM_SCORE = """
def lower():
    with open('/proc/self/oom_score_adj', 'w') as file: file.write('-1000')
attempt('below', lower)
with contextlib.suppress(OSError), open('/proc/self/oom_score_adj', 'w') as file: file.write('0')
time.sleep(0.15)
print('score', open('/proc/self/oom_score_adj').read().strip())
"""
BUSY = """
print('begun', flush=True)
for _ in range(50): spawn(lambda: any(iter(int, 1)))
time.sleep(9)
"""
LONGER = "import time; time.sleep(0.2); print('served')"
CORE = """
import resource
child = spawn(os.abort)
print(os.WCOREDUMP(os.waitpid(child, 0)[1]), resource.getrlimit(resource.RLIMIT_CORE))
"""


def bounded(result: RunResult) -> Verdict:
    """The number that it got to, and the errno that it met there."""
    count, _, ending = result.stdout.strip().partition(" ")
    held = count.isdigit() and 20 <= int(count) < LIMITS.processes and ending == "EAGAIN"
    return None if held else f"it was not stopped below {LIMITS.processes} ({tail(result)})"


def classic(result: RunResult) -> Verdict:
    met = "Resource temporarily unavailable" in result.stderr
    return None if met and result.timed_out else f"it met no limit ({tail(result)})"


def answered(result: RunResult) -> Verdict:
    return None if result.stdout == "begun\n" else f"the answer was lost ({tail(result)})"


ATTACKS = [
    Attack("fork bomb", FORK_BOMB, bounded, warm_up_s=0.1, neighbour=FORTY),
    Attack("classic fork bomb", CLASSIC, classic, "bash", 3.0, warm_up_s=0.3),
    Attack("thread bomb", THREADS, bounded),
    Attack("zombies", ZOMBIES, both(says("begun 50 zombies\n"), succeeded)),
    Attack("daemon that outlives the run", DAEMON, says("3\n")),
    Attack("daemon that holds stdout open", HOLDS_STDOUT, says("begun\n"), "bash"),
    Attack("comet of short-lived processes", COMET, answered, timeout_s=2.0, warm_up_s=0.1),
    Attack(
        "process that replaces itself for ever",
        CHAIN,
        timed_out,
        "bash",
        2.0,
        {"args": ["1"]},
        warm_up_s=0.1,
        kit=False,
    ),
    Attack("busy loop", "print('begun', flush=True)\nwhile True: pass", timed_out, timeout_s=2.0),
    Attack("busy loop in javascript", "console.log('begun'); for (;;);", timed_out, "javascript", 2.0),
    Attack("sleeping for ever", "echo begun; sleep 100000", timed_out, "bash", 2.0),
    Attack("ignoring every signal", ALL_SIGNALS, timed_out, timeout_s=2.0),
    Attack("stopping itself", "echo begun; kill -STOP $$", timed_out, "bash", 2.0, warm_up_s=0.1),
    Attack(
        "fifty busy processes",
        BUSY,
        timed_out,
        timeout_s=2.0,
        warm_up_s=0.3,
    ),
    Attack(
        "kill of everything",
        KILL_ALL,
        reports(killed="WORKED None", own="9"),
        neighbour=LONGER,
    ),
    Attack("kill of its init", KILL_INIT, says("1\n")),
    Attack("memory of its init overwritten", CORRUPT_INIT, answered, timeout_s=3.0),
    Attack(
        "signals to the executor",
        KILL_HOST,
        reports(executor="ESRCH", group="ESRCH", pidfd="ESRCH", priority="ESRCH", affinity="ESRCH"),
    ),
    Attack(
        "priority over everybody",
        PRIORITY,
        reports(nice=("EACCES", "EPERM"), realtime="EPERM", niceness=("5", "0")),
    ),
    Attack(
        "raising its own limits",
        LIMITS_UP,
        refused("NPROC", "NOFILE", "DATA", "CORE"),
    ),
    Attack("escaping the out-of-memory killer", OOM_SCORE, reports(below=("EACCES", "EROFS"), score="1000")),
    Attack("core dump", CORE, says("False (0, 0)\n")),
]
