"""Memory, in every place where the kernel would keep it for a run. Bombs stop by themselves below 1 GiB.

Most of them stop between the limit and what `out_of_memory` allows on top of it (`SLACK`): then it does not
matter how late a watchdog looks on a busy machine.
"""

from shared.jobs import RunResult
from tests.sandbox.attack import Attack, Verdict, out_of_memory, tail

BEGIN = "print('begun', flush=True)\n"
# Held for a moment, or on a busy machine it is gone again before a watchdog has its turn.
END = "\ntime.sleep(4); print('survived', flush=True); os._exit(0)"
HEAP = BEGIN + "kept = [bytearray(b'x' * (8 << 20)) for _ in range(77)]" + END
CHILDREN = (
    BEGIN
    + """
def eat():
    kept = b'x' * (145 << 20); os.write(ready[1], b'x'); time.sleep(20)
ready = os.pipe()
for _ in range(4): spawn(eat)
os.close(ready[1])
for _ in range(4):
    if not os.read(ready[0], 1): break"""
    + END
)
# The kernel kills one child, its parent starts the next: the whole run has to go.
HYDRA = (
    BEGIN
    + """
def eat():
    kept = b'x' * (600 << 20); time.sleep(1)
for _ in range(12): os.waitpid(spawn(eat), 0)"""
    + END
)
SHARED_MAPS = (
    BEGIN
    + """
kept = [mmap.mmap(-1, 64 << 20) for _ in range(10)]
for area in kept:
    for at in range(0, 64 << 20, 4096): area[at] = 1"""
    + END
)
# Reading maps the one page of zeros everywhere: no page is used, only tables of pages.
PAGE_TABLES = (
    BEGIN
    + """
size = 310 << 30
area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=mmap.PROT_READ)
for at in range(0, size, 2 << 20): area[at]"""
    + END
)
# A record for every other byte. No group of the kernel's counts them.
LOCKS = (
    BEGIN
    + """
import fcntl
for name in range(100):
    file = os.open(f'/tmp/lock{name}', os.O_RDWR | os.O_CREAT)
    for at in range(400): fcntl.lockf(file, fcntl.LOCK_EX, 1, 2 * at)"""
    + END
)
MEMFD = (
    BEGIN
    + """
try: fd = os.memfd_create('bomb')
except OSError as exc: print(errno.errorcode[exc.errno]); sys.exit()
for _ in range(768): os.write(fd, b'x' * (1 << 20))"""
    + END
)
SYSTEM_V = (
    BEGIN
    + """
libc.shmat.restype = ctypes.c_void_p
for _ in range(12):
    try: name = call('shmget', 0, 64 << 20, 0o1600)
    except OSError as exc: print(errno.errorcode[exc.errno]); sys.exit()
    ctypes.memset(libc.shmat(name, None, 0), 1, 64 << 20)"""
    + END
)
FILES = (
    BEGIN
    + """
kept = bytearray(400 << 20)
for at in range(0, len(kept), 4096): kept[at] = 1
for folder in '/box', '/tmp', '/dev/shm': open(folder + '/fill', 'wb').write(bytes(60 << 20))
time.sleep(0.5)"""
    + END
)
SOCKETS = (
    BEGIN
    + """
def fill():
    kept = []
    try:
        while True:
            kept.append(socket.socketpair())
            for end in kept[-1]:
                end.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True: end.send(b'x' * 65536)
    except OSError: time.sleep(3)
for child in [spawn(fill) for _ in range(40)]: os.waitpid(child, 0)"""
    + END
)
NODE = """
console.log('begun');
const kept = [];
for (let i = 0; i < 56; i++) kept.push(Buffer.alloc(10 << 20, 1));
setTimeout(() => console.log('survived', kept.length), 4000);
"""


def denied_or_bounded(result: RunResult) -> Verdict:
    """Under a watchdog there is no such memory at all; under a cgroup it counts."""
    if result.isolation.endswith("watchdog"):
        return None if result.stdout == "begun\nEPERM\n" else f"it was not denied ({tail(result)})"
    return out_of_memory(result)


ATTACKS = [
    Attack("memory by heap", HEAP, out_of_memory, warm_up_s=0.1),
    Attack("memory by children", CHILDREN, out_of_memory, warm_up_s=0.1),
    Attack("memory by children that grow again", HYDRA, out_of_memory, warm_up_s=0.1),
    Attack("memory by shared maps", SHARED_MAPS, out_of_memory, warm_up_s=0.1),
    Attack("memory by page tables", PAGE_TABLES, out_of_memory, warm_up_s=0.1),
    Attack("memory by file locks", LOCKS, out_of_memory, warm_up_s=0.1),
    Attack("memory by memfd", MEMFD, denied_or_bounded),
    Attack("memory by System V segments", SYSTEM_V, denied_or_bounded),
    Attack("memory by files", FILES, out_of_memory),
    Attack("memory by socket buffers", SOCKETS, out_of_memory, warm_up_s=0.1),
    Attack("memory by node's buffers", NODE, out_of_memory, "javascript"),
]
