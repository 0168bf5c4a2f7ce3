"""Stands before every attack in Python (`trial.py` puts it there); the host never runs it."""

# Its imports are for the attacks.
# ruff: noqa: F401, PTH115, PTH123, SIM115, T201
import contextlib
import ctypes
import errno
import mmap
import os
import platform
import signal
import socket
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
world = {name[6:].lower(): value for name, value in os.environ.items() if name.startswith("WORLD_")}
"""Where the baits are (`tests/sandbox/world.py`)."""

# asm/unistd_64.h and asm-generic/unistd.h; independent of the product's own table on purpose.
NUMBERS = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "capset": (126, 91),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsopen": (430, 430),
    "future": (999, 999),
    "getpid": (39, 172),
    "init_module": (175, 105),
    "inotify_init1": (294, 26),
    "io_setup": (206, 0),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mbind": (237, 235),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "sched_setscheduler": (144, 119),
    "semget": (64, 190),
    "set_mempolicy": (238, 237),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "shmat": (30, 196),
    "shmget": (29, 194),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
COLUMN = 1 if platform.machine() == "aarch64" else 0


def call(name, *args):
    """A system call: `OSError` as from Python's own; `AttributeError` where there is no such call."""
    number = NUMBERS[name][COLUMN] if isinstance(name, str) else name
    if number is None:
        raise AttributeError(name)
    words = [arg if isinstance(arg, (bytes, ctypes.Array)) else ctypes.c_long(arg) for arg in args]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def attempt(what, function, *args, **kwargs):
    """Try, and say on stdout how it ended: an errno's name, or WORKED. Returns what came back."""
    try:
        found = function(*args, **kwargs)
    except TimeoutError:
        print(what, "timed-out", flush=True)
    except socket.gaierror as exc:
        print(what, f"gaierror({exc.errno})", flush=True)
    except OSError as exc:
        print(what, errno.errorcode.get(exc.errno, exc.errno), flush=True)
    except AttributeError:
        print(what, "absent", flush=True)
    else:
        print(what, "WORKED", repr(found)[:60], flush=True)
        return found
    return None


def spawn(function):
    """Run `function` in a child that ends with it; returns the child's pid."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(0)
    return pid


with contextlib.suppress(OSError), open("/box/out/!namespace", "w") as note:
    note.write(f"{os.readlink('/proc/self/ns/pid')} {open('/proc/1/stat').read().split()[21]}")
