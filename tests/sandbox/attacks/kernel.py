"""System calls that reach for the kernel, for new namespaces or for the clock."""

import platform

from shared.jobs import RunResult
from tests.sandbox.attack import Attack, Expect, Verdict, refused, reports, tail

KINDS = {
    "user": 0x10000000,
    "net": 0x40000000,
    "mount": 0x20000,
    "pid": 0x20000000,
    "ipc": 0x08000000,
    "time": 0x80,
}
UNSHARE = f"for name, flag in {KINDS!r}.items(): attempt(name, call, 'unshare', flag)"
CLONE = """
def child(flags):
    pid = call('clone', flags | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0: os._exit(0)
    return os.waitpid(pid, 0)
attempt('user', child, 0x10000000)
attempt('net', child, 0x50000000)
arguments = struct.pack('8Q', 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
def child3():
    if (pid := call('clone3', arguments, len(arguments))) == 0: os._exit(0)
    return os.waitpid(pid, 0)
attempt('clone3', child3)
"""
SETNS = """
for name in 'user', 'mnt', 'pid', 'net':
    attempt(name, call, 'setns', os.open(f'/proc/1/ns/{name}', os.O_RDONLY), 0)
attempt('pidfd', call, 'setns', os.pidfd_open(os.getppid()), 0x20000000)
"""
PTRACE = """
attempt('traceme', call, 'ptrace', 0, 0, 0, 0)
child = spawn(lambda: time.sleep(5))
attempt('attach', call, 'ptrace', 16, child, 0, 0)
attempt('seize', call, 'ptrace', 0x4206, child, 0, 0)
"""
MOUNTS = """
attempt('fsopen', call, 'fsopen', b'tmpfs', 0)
attempt('open_tree', call, 'open_tree', -100, b'/', 1)
attempt('move_mount', call, 'move_mount', -100, b'/tmp', -100, b'/box', 0)
attempt('mount_setattr', call, 'mount_setattr', -100, b'/usr', 0, bytes(32), 32)
attempt('chroot', os.chroot, '/tmp')
os.mkdir('/tmp/old'); attempt('pivot_root', call, 'pivot_root', b'/tmp', b'/tmp/old')
"""
CLOCK = """
attempt('settime', time.clock_settime, time.CLOCK_REALTIME, 0)
attempt('settimeofday', call, 'settimeofday', struct.pack('2q', 0, 0), 0)
attempt('adjtimex', call, 'adjtimex', ctypes.create_string_buffer(256))
attempt('adjtime', call, 'clock_adjtime', 0, ctypes.create_string_buffer(256))
"""
MODULES = """
attempt('init', call, 'init_module', b'x', 1, b'')
attempt('finit', call, 'finit_module', 0, b'', 0)
attempt('delete', call, 'delete_module', b'loop', 0)
attempt('kexec', call, 'kexec_load', 0, 0, 0, 0)
attempt('kexec_file', call, 'kexec_file_load', 0, 0, 0, b'', 0)
attempt('reboot', call, 'reboot', 0xfee1dead, 672274793, 0, 0)
attempt('swapon', call, 'swapon', b'/tmp/swap', 0)
attempt('acct', call, 'acct', 0)
attempt('quota', call, 'quotactl', 0x80000700, b'/dev/vda', 0, 0)
attempt('hostname', call, 'sethostname', b'x', 1)
attempt('hangup', call, 'vhangup')
"""
# Its own terminal, made its controlling one: what it types there, a program outside could be given.
TERMINAL = """
import fcntl, termios
def type():
    os.setsid(); main, side = os.openpty()
    fcntl.ioctl(side, termios.TIOCSCTTY, 0)
    attempt('type', fcntl.ioctl, side, termios.TIOCSTI, b'x')
    attempt('console', fcntl.ioctl, side, 0x541d, 0)
    attempt('linux', fcntl.ioctl, side, 0x541c, b'\\x02')
    print('end -', flush=True)
os.waitpid(spawn(type), 0)
"""
UFFD = "attempt('any', call, 'userfaultfd', 0)\nattempt('own', call, 'userfaultfd', 1)"
PERF = """
own_code_only = struct.pack('IIQ', 1, 120, 0) + bytes(24) + struct.pack('Q', 0x61)
attributes = ctypes.create_string_buffer(own_code_only, 120)
attempt('own', call, 'perf_event_open', attributes, 0, -1, -1, 0)
attempt('machine', call, 'perf_event_open', attributes, -1, 0, -1, 0)
"""
BPF = """
attempt('map', call, 'bpf', 0, struct.pack('5I', 1, 4, 4, 1, 0) + bytes(100), 120)
attempt('program', call, 'bpf', 5, bytes(120), 120)
"""
URING = "attempt('setup', call, 'io_uring_setup', 4, ctypes.create_string_buffer(120))"
FOREIGN = """
attempt('getfd', call, 'pidfd_getfd', os.pidfd_open(os.getpid()), 0, 0)
attempt('compare', call, 'kcmp', os.getpid(), os.getpid(), 0, 0, 1)
attempt('pages', call, 'move_pages', 0, 0, 0, 0, 0, 0)
attempt('bind', call, 'mbind', 0, 0, 0, 0, 0, 0)
attempt('policy', call, 'set_mempolicy', 0, 0, 0)
"""
PERSONALITY = """
attempt('layout', call, 'personality', 0x0040000)
attempt('execute', call, 'personality', 0x0400000)
attempt('tell', call, 'personality', 0xffffffff)
"""
# mov eax, 20 (getpid of i386); int 0x80; ret
I386 = """
area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
area.write(bytes.fromhex('b814000000cd80c3'))
print('begun', flush=True)
function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(area)))
print('WORKED', function(), flush=True)
"""
UNKNOWN = """
attempt('future', call, 'future')
if COLUMN == 0: attempt('x32', call, 0x40000000 + 39)
attempt('getpid', call, 'getpid')
"""
PORTS = """
attempt('iopl', call, 'iopl', 3)
attempt('table', call, 'modify_ldt', 0, ctypes.create_string_buffer(64), 64)
"""
NESTED = """
for program in 'unshare -Ur id' 'unshare -rn true' 'bwrap --ro-bind / / id' 'chroot / id' \\
               'mount -t tmpfs none /tmp' 'sudo -n id'; do
  $program >/dev/null 2>&1 && echo "$program WORKED"
done
echo begun
"""


def x86_only() -> str | None:
    return None if platform.machine() == "x86_64" else "only on x86_64 is there such a call"


def killed_by(name: str) -> Expect:
    def expect(result: RunResult) -> Verdict:
        held = result.stdout == "begun\n" and result.signal == name
        return None if held else f"it was not killed by {name} ({tail(result)})"

    return expect


def nothing_worked(result: RunResult) -> Verdict:
    return None if result.stdout == "begun\n" else f"a program got further ({tail(result)})"


ATTACKS = [
    Attack("new namespaces by unshare", UNSHARE, refused(*KINDS)),
    Attack("new namespaces by clone", CLONE, reports(user="EPERM", net="EPERM", clone3="ENOSYS")),
    Attack("new namespaces by programs", NESTED, nothing_worked, "bash"),
    Attack("other namespaces by setns", SETNS, refused("user", "mnt", "pid", "net", "pidfd")),
    Attack("tracing", PTRACE, refused("traceme", "attach", "seize")),
    Attack(
        "new ways to mount, chroot and pivot_root",
        MOUNTS,
        refused("fsopen", "open_tree", "move_mount", "mount_setattr", "chroot", "pivot_root"),
    ),
    Attack("the clock", CLOCK, refused("settime", "settimeofday", "adjtimex", "adjtime")),
    Attack(
        "modules, kexec, reboot and swap",
        MODULES,
        refused(
            *("init", "finit", "delete", "kexec", "kexec_file", "reboot", "swapon", "acct"),
            *("quota", "hostname", "hangup"),
        ),
    ),
    Attack("typing into a terminal", TERMINAL, refused("type", "console", "linux")),
    Attack("page faults in user space", UFFD, refused("any", "own")),
    Attack("performance counters", PERF, refused("own", "machine")),
    Attack("programs in the kernel", BPF, refused("map", "program")),
    Attack("io_uring", URING, refused("setup")),
    Attack(
        "descriptors and pages of others", FOREIGN, refused("getfd", "compare", "pages", "bind", "policy")
    ),
    Attack("personality", PERSONALITY, reports(layout="EPERM", execute="EPERM", tell="WORKED 0")),
    Attack("32-bit system calls", I386, killed_by("SIGSYS"), only=x86_only),
    Attack(
        "system calls of the future and of x32",
        UNKNOWN,
        reports(future="ENOSYS", **({"x32": "ENOSYS"} if x86_only() is None else {})),
    ),
    Attack("ports and segments", PORTS, refused("iopl", "table"), only=x86_only),
]
