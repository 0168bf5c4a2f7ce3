"""Writing where nothing may be written, and gaining rights by files."""

from tests.sandbox.attack import Attack, refused, reports, says
from tests.sandbox.leftovers import MARK

READ_ONLY = f"""
for number, place in enumerate(('/', '/usr', '/usr/bin', '/usr/lib', '/etc', '/dev')):
    attempt(f'place{{number}}', open, place + '/{MARK}', 'w')
attempt('proc', open, '/proc/{MARK}', 'w')
attempt('passwd', open, '/etc/passwd', 'a')
attempt('remove', os.unlink, '/usr/bin/env')
attempt('rename', os.rename, '/usr/bin/env', '/usr/bin/{MARK}')
attempt('chmod', os.chmod, '/usr/bin/env', 0o777)
attempt('times', os.utime, '/usr/bin/env')
"""
PROC = """
for number, path in enumerate((
    'sysrq-trigger', 'sys/kernel/core_pattern', 'sys/kernel/modprobe', 'sys/vm/overcommit_memory',
    'sys/fs/binfmt_misc/register', 'sys/kernel/hostname', 'sys/kernel/randomize_va_space',
    'sys/user/max_user_namespaces', 'irq/default_smp_affinity', 'self/setgroups', 'acpi/wakeup',
    'self/uid_map', 'self/oom_score_adj', '1/oom_score_adj', 'self/comm', '1/mem', 'sys/net/core/somaxconn',
)): attempt(f'path{number}', open, '/proc/' + path, 'w')
"""
PROC_REFUSED = {f"path{number}": ("EACCES", "EPERM", "ENOENT", "EROFS") for number in range(17)}
MAPS = """
def write(path, text):
    with open(path, 'w') as file: file.write(text)
attempt('uids', write, '/proc/self/uid_map', '0 0 1')
attempt('gids', write, '/proc/self/gid_map', '0 0 1')
attempt('groups', os.setgroups, [0])
attempt('uid', os.setresuid, 0, 0, 0)
attempt('gid', os.setresgid, 0, 0, 0)
all_of_them = struct.pack('6I', *[0xffffffff] * 6)
attempt('capabilities', call, 'capset', struct.pack('Ii', 0x20080522, 0), all_of_them)
print('ids', *os.getresuid(), *os.getresgid())
"""
STATUS = "grep -E '^(NoNewPrivs|Seccomp|Cap...):' /proc/self/status | tr -d '\\t' | sort"
STATUS_SAYS = (
    "".join(f"Cap{name}:{'0' * 16}\n" for name in ("Amb", "Bnd", "Eff", "Inh", "Prm"))
    + "NoNewPrivs:1\nSeccomp:2\n"
)
SETUID = """
import shutil, subprocess
shutil.copy('/usr/bin/id', '/box/id'); attempt('chmod', os.chmod, '/box/id', 0o6755)
print('mine', subprocess.run(['/box/id', '-u'], capture_output=True, text=True).stdout.strip())
for path in '/usr/bin/su', '/usr/bin/mount', '/usr/bin/passwd', '/usr/bin/chsh':
    if os.path.exists(path):
        done = subprocess.run([path, '--help'], capture_output=True)
attempt('chown', os.chown, '/box/id', 0, 0)
print('privileges', libc.prctl(38, 0, 0, 0, 0), libc.prctl(39, 0, 0, 0, 0))
"""
OWN_PROGRAM = """
attempt('exe', open, '/proc/self/exe', 'r+b')
attempt('runtime', open, os.path.realpath(sys.executable), 'r+b')
import sysconfig
attempt('library', open, sysconfig.get_path('stdlib') + '/os.py', 'r+b')
attempt('preload', open, '/etc/ld.so.preload', 'w')
attempt('cache', open, '/etc/ld.so.cache', 'r+b')
"""
CGROUPS = """
attempt('folder', os.listdir, '/sys/fs/cgroup')
libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
def mount(kind):
    if libc.mount(b'none', b'/tmp', kind, 0, b'memory' if kind == b'cgroup' else None):
        raise OSError(ctypes.get_errno(), 'refused')
attempt('v1', mount, b'cgroup')
attempt('v2', mount, b'cgroup2')
"""
REMOUNT = """
attempt('root', call, 'mount', b'none', b'/', 0, 0x1020, 0)
attempt('usr', call, 'mount', b'none', b'/usr', 0, 0x1020, 0)
attempt('bind', call, 'mount', b'/proc/1/root', b'/tmp', 0, 0x1000, 0)
attempt('proc', call, 'mount', b'proc', b'/tmp', b'proc', 0, 0)
attempt('unmount', call, 'umount2', b'/etc/passwd', 2)
"""

ATTACKS = [
    Attack(
        "writes to read-only places",
        READ_ONLY,
        reports(
            **{f"place{number}": "EROFS" for number in range(6)},
            proc="ENOENT",
            passwd=("EROFS", "EACCES"),
            **dict.fromkeys(("remove", "rename", "chmod", "times"), "EROFS"),
        ),
    ),
    Attack("writes to /proc", PROC, reports(**PROC_REFUSED)),
    Attack(
        "becoming root",
        MAPS,
        reports(
            uids=("EPERM", "EROFS"),
            gids=("EPERM", "EROFS"),
            groups="EPERM",
            uid=("EPERM", "EINVAL"),
            gid=("EPERM", "EINVAL"),
            capabilities="EPERM",
            ids=" ".join(["1000"] * 6),
        ),
    ),
    Attack(
        "privileges that were left over",
        STATUS,
        says(STATUS_SAYS),
        "bash",
    ),
    Attack(
        "setuid programs",
        SETUID,
        reports(mine="1000", chown=("EPERM", "EINVAL"), privileges="-1 1"),
    ),
    Attack(
        "overwriting the runtime and the loader",
        OWN_PROGRAM,
        reports(
            exe=("EROFS", "ETXTBSY", "EACCES"),
            runtime=("EROFS", "ETXTBSY", "EACCES"),
            library=("EROFS", "EACCES"),
            preload="EROFS",
            cache=("EROFS", "EACCES", "ENOENT"),
        ),
    ),
    Attack("escape by cgroups", CGROUPS, reports(folder="ENOENT", v1="EPERM", v2="EPERM")),
    Attack("mounting", REMOUNT, refused("root", "usr", "bind", "proc", "unmount")),
]
