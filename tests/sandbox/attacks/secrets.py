"""Secrets of the executor and of the host. Whatever finds the bait's secret fails by itself (`trial.py`)."""

import os

from shared.jobs import RunResult
from tests.sandbox.attack import Attack, Verdict, reports, says, tail

ENVIRONMENT = "env; cat /proc/*/environ | tr '\\0' '\\n'; echo begun"
PROCESSES = """
for name in sorted(os.listdir('/proc')):
    if not name.isdigit(): continue
    for part in 'cmdline', 'environ', 'maps', 'status':
        with contextlib.suppress(OSError): open(f'/proc/{name}/{part}').read()
    with contextlib.suppress(OSError): print(name, os.listdir(f'/proc/{name}/fd'), file=sys.stderr)
print(*sorted((name for name in os.listdir('/proc') if name.isdigit()), key=int))
"""
DESCRIPTORS = """
import stat
open_now = []
for fd in range(1024):
    with contextlib.suppress(OSError):
        mode = os.fstat(fd).st_mode; open_now.append(fd)
        if stat.S_ISREG(mode): os.write(1, os.pread(fd, 4096, 0))
print(open_now)
"""
HOST_FILES = """
for name, path in {
    'bait': world['folder'] + '/secret', 'shadow': '/etc/shadow', 'root': '/root', 'home': '/home',
    'var': '/var', 'sys': '/sys', 'run': '/run', 'keys': '/etc/ssh', 'machine': '/etc/machine-id',
    'boot': '/boot', 'work': '/work',
}.items(): attempt(name, os.stat, path)
"""
HOST_FILES_GONE = dict.fromkeys(
    ("bait", "shadow", "root", "home", "var", "sys", "run", "keys", "machine", "boot", "work"), "ENOENT"
)
UPWARDS = """
bait = world['folder'] + '/secret'
for name, path in {
    'dots': '/box' + '/..' * 20 + bait, 'init': '/proc/1/root' + bait, 'self': '/proc/self/root' + bait,
    'cwd': '/proc/1/cwd' + bait, 'executor': f"/proc/{world['pid']}/root" + bait,
}.items(): attempt(name, lambda: os.write(1, open(path, 'rb').read()))
print('same', os.listdir('/proc/1/root') == os.listdir('/'))
"""
KERNEL = """
for name, path in {
    'kcore': '/proc/kcore', 'core': '/dev/core', 'mem': '/dev/mem', 'kmsg': '/proc/kmsg',
    'devkmsg': '/dev/kmsg', 'port': '/dev/port', 'disk': '/dev/vda', 'disk2': '/dev/sda',
    'fuse': '/dev/fuse', 'kvm': '/dev/kvm', 'tun': '/dev/net/tun', 'loop': '/dev/loop-control',
    'vhost': '/dev/vhost-vsock',
}.items(): attempt(name, lambda: open(path, 'rb').read(1))
attempt('console', os.open, '/dev/tty', os.O_RDWR)
for name in os.listdir('/dev'): print('device', name, file=sys.stderr)
"""
ACCOUNTS = "cat /etc/passwd; ls /etc; hostname; id"
HANDLES = """
handle, number = ctypes.create_string_buffer(struct.pack('Ii', 128, 0), 256), ctypes.create_string_buffer(8)
attempt('name', call, 'name_to_handle_at', -100, b'/usr', handle, number, 0)
root = ctypes.create_string_buffer(struct.pack('IiQ', 8, 1, 2), 64)
attempt('open', call, 'open_by_handle_at', os.open('/usr', os.O_RDONLY), root, os.O_RDONLY)
"""
VM_READ = """
buffer = ctypes.create_string_buffer(64)
vector = ctypes.create_string_buffer(struct.pack('PQ', ctypes.addressof(buffer), 64))
attempt('executor', call, 'process_vm_readv', int(world['pid']), vector, 1, vector, 1, 0)
attempt('own', call, 'process_vm_readv', os.getpid(), vector, 1, vector, 1, 0)
attempt('write', call, 'process_vm_writev', os.getpid(), vector, 1, vector, 1, 0)
"""
KEYS = """
attempt('session', call, 'keyctl', 0, -3, 0, 0, 0)
attempt('add', call, 'add_key', b'user', b'galaksio-attack', b'x', 1, -2)
attempt('request', call, 'request_key', b'user', b'galaksio-attack', 0, 0)
"""
NEIGHBOUR = "import time; MARK = 'a neighbour at work'; time.sleep(0.4); print('served')"
SPY = """
import re
time.sleep(0.2)
seen = set()
for name in filter(str.isdigit, os.listdir('/proc')):
    with contextlib.suppress(OSError): seen.add(open(f'/proc/{name}/cmdline').read())
for word in 'neighbour', 'pytest':
    print(word, any(word in text for text in seen))
print('count', sum(name.isdigit() for name in os.listdir('/proc')))
attempt('root', os.listdir, '/proc/3/root')
"""
DENIED = {
    "kcore": ("EPERM", "EACCES", "ENOENT"),
    "core": ("EPERM", "EACCES", "ENOENT"),
    "kmsg": ("EPERM", "EACCES"),
}


def no_account(result: RunResult) -> Verdict:
    words = result.stdout.split()
    leaked = [word for word in ("root:", "shadow", "sudoers", "ssh", os.uname().nodename) if word in words]
    held = "box" in words and "uid=1000(box)" in words and not leaked and "root" not in result.stdout
    return None if held else f"it knows the host ({tail(result)})"


ATTACKS = [
    Attack(
        "secrets in the environment", ENVIRONMENT, lambda r: None if "begun" in r.stdout else tail(r), "bash"
    ),
    Attack("secrets of other processes", PROCESSES, says("1 2\n")),
    Attack("secrets behind inherited descriptors", DESCRIPTORS, says("[0, 1, 2]\n")),
    Attack("files of the host", HOST_FILES, reports(**HOST_FILES_GONE)),
    Attack(
        "ways up and out of the root",
        UPWARDS,
        reports(**dict.fromkeys(("dots", "init", "self", "cwd", "executor"), "ENOENT"), same="True"),
    ),
    Attack(
        "memory and devices of the kernel",
        KERNEL,
        reports(
            **DENIED,
            **dict.fromkeys(
                ("mem", "devkmsg", "port", "disk", "disk2", "fuse", "kvm", "tun", "loop", "vhost"), "ENOENT"
            ),
            console="ENXIO",
        ),
    ),
    Attack("accounts and name of the host", ACCOUNTS, no_account, "bash"),
    Attack("files by handle", HANDLES, reports(name="EPERM", open="EPERM")),
    Attack("memory of other processes", VM_READ, reports(executor="EPERM", own="EPERM", write="EPERM")),
    Attack("keyrings", KEYS, reports(session="EPERM", add="EPERM", request="EPERM")),
    Attack(
        "spying on a neighbour",
        SPY,
        reports(neighbour="False", pytest="False", count="2", root="ENOENT"),
        neighbour=NEIGHBOUR,
    ),
    Attack("the kernel's log", "attempt('size', call, 'syslog', 10, 0, 0)", reports(size="EPERM")),
]
