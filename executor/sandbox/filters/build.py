"""Assemble the seccomp filters: `python -m executor.sandbox.filters.build` writes the `.bpf` files.

A filter is an array of `struct sock_filter` (little-endian) over `struct seccomp_data`
(linux/seccomp.h, linux/filter.h). Everything is allowed but what stands here; syscall numbers come
from linux's unistd tables of both architectures. No library is needed, so the blobs can be rebuilt
and compared anywhere.
"""

import struct
import sys

from executor.sandbox.filters import ARCHITECTURES, blob_path

EPERM, ENOSYS, EPROTONOSUPPORT, EAFNOSUPPORT = 1, 38, 93, 97
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6].
NR, ARCH, ARGS = 0, 4, 16

# linux/filter.h: class | size or operation | mode or source.
LOAD_WORD, RETURN = 0x20, 0x06
JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT = 0x15, 0x35, 0x45
AND = 0x54

X32_BIT = 0x40000000
LAST_KNOWN = 466  # removexattrat; later calls are unknown to this list and so do not exist
NEW_NAMESPACES = 0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
STREAM, DGRAM, SEQPACKET = 1, 2, 5
TYPE_MASK = 0xF  # without SOCK_CLOEXEC and SOCK_NONBLOCK
PROTOCOLS = (0, 6, 17)  # default, TCP, UDP: not ICMP, SCTP, MPTCP
F_NOTIFY = 1026  # linux/fcntl.h: signals when others touch a folder
TERMINAL_IOCTLS = (0x5412, 0x541C, 0x541D)  # TIOCSTI, TIOCLINUX, TIOCCONS
PERSONALITIES = (0, 0xFFFFFFFF)  # "plain Linux" and "tell me"

# name: (number on x86_64, number on aarch64); None where the architecture has no such call.
Table = dict[str, tuple[int | None, int | None]]

SHAPED: Table = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "fcntl": (72, 25),
    "ioctl": (16, 29),
    "personality": (135, 92),
    "socket": (41, 198),
    "socketpair": (53, 199),
}

DENIED: Table = {
    "_sysctl": (156, None),
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "create_module": (174, None),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "get_kernel_syms": (177, None),
    "init_module": (175, 105),
    # Marks on files of /usr tell what other runs and the host read there.
    "inotify_add_watch": (254, 27),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    # One run can take all requests of the machine (fs.aio-max-nr).
    "io_setup": (206, 0),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "listmount": (458, 458),
    "lookup_dcookie": (212, 18),
    "lsm_set_self_attr": (460, 460),
    "mbind": (237, 235),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "query_module": (178, None),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "statmount": (457, 457),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "sysfs": (139, None),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "ustat": (136, None),
    "vhangup": (153, 58),
}

# Memory that belongs to no process: only a cgroup bounds it.
DENIED_STRICT: Table = {
    "memfd_create": (319, 279),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "semget": (64, 190),
    "shmget": (29, 194),
}


class Assembler:
    """Instructions in order. A jump skips `0` or more of the instructions right behind it."""

    def __init__(self) -> None:
        self.code: list[tuple[int, int, int, int]] = []

    def load(self, offset: int) -> None:
        self.code.append((LOAD_WORD, 0, 0, offset))

    def load_arg(self, index: int) -> None:
        """The low half: the kernel cuts these arguments to 32 bits too."""
        self.load(ARGS + 8 * index)

    def mask(self, bits: int) -> None:
        self.code.append((AND, 0, 0, bits))

    def answer(self, verdict: int) -> None:
        self.code.append((RETURN, 0, 0, verdict))

    def when(self, test: int, value: int, verdict: int) -> None:
        """Answer `verdict` if the accumulator passes `test`."""
        self.code.append((test, 0, 1, value))
        self.answer(verdict)

    def unless_equal(self, values: tuple[int, ...], verdict: int) -> None:
        """Answer `verdict` if the accumulator is none of `values`."""
        for left, value in zip(range(len(values), 0, -1), values, strict=True):
            self.code.append((JUMP_EQUAL, left, 0, value))
        self.answer(verdict)

    def search(self, found: list[tuple[int, "Assembler"]]) -> None:
        """Go on with the body whose first number is the last one not over the accumulator, by halves.

        The kernel tries all numbers when a filter is set, and keeps what it finds: from the list, one after
        the other, that took 0.3 ms of every run.
        """
        if len(found) == 1:
            self.code.extend(found[0][1].code)
            return
        middle = len(found) // 2
        below = Assembler()
        below.search(found[:middle])
        self.code.append((JUMP_AT_LEAST, len(below.code), 0, found[middle][0]))
        self.code.extend(below.code)
        self.search(found[middle:])

    def blob(self) -> bytes:
        return b"".join(struct.pack("<HBBI", *instruction) for instruction in self.code)


def build(arch: str, *, strict: bool) -> bytes:
    """The filter of `arch` as bytes; the same input gives the same bytes."""
    column = ARCHITECTURES.index(arch)
    out = Assembler()
    out.load(ARCH)
    out.unless_equal((AUDIT_ARCH[arch],), KILL_PROCESS)
    out.load(NR)
    if arch == "x86_64":
        out.when(JUMP_ANY_BIT, X32_BIT, ERRNO | ENOSYS)
    out.search(_bodies(column, {**DENIED, **(DENIED_STRICT if strict else {})}))
    return out.blob()


def _bodies(column: int, denied: Table) -> list[tuple[int, Assembler]]:
    """What to do with each syscall, as the first number of a stretch and the body for all of it."""
    allow, refuse, unknown = (_answer(verdict) for verdict in (ALLOW, ERRNO | EPERM, ERRNO | ENOSYS))
    shaped = {
        "clone": _clone(),
        # Its flags are behind a pointer that a filter cannot follow; libc falls back to clone.
        "clone3": unknown,
        "fcntl": _fcntl(),
        "ioctl": _ioctl(),
        "personality": _personality(),
        "socket": _socket((AF_UNIX, AF_INET, AF_INET6)),
        "socketpair": _socket((AF_UNIX,)),
    }
    bodies = {row[column]: refuse for row in denied.values()}
    bodies |= {SHAPED[name][column]: body for name, body in shaped.items()}
    found: list[tuple[int, Assembler]] = []
    for number in range(LAST_KNOWN + 2):
        body = unknown if number > LAST_KNOWN else bodies.get(number, allow)
        if not found or found[-1][1] is not body:
            found.append((number, body))
    return found


def _answer(verdict: int) -> Assembler:
    body = Assembler()
    body.answer(verdict)
    return body


def _clone() -> Assembler:
    body = Assembler()
    body.load_arg(0)
    body.when(JUMP_ANY_BIT, NEW_NAMESPACES, ERRNO | EPERM)
    body.answer(ALLOW)
    return body


def _fcntl() -> Assembler:
    body = Assembler()
    body.load_arg(1)
    body.when(JUMP_EQUAL, F_NOTIFY, ERRNO | EPERM)
    body.answer(ALLOW)
    return body


def _ioctl() -> Assembler:
    body = Assembler()
    body.load_arg(1)
    for request in TERMINAL_IOCTLS:
        body.when(JUMP_EQUAL, request, ERRNO | EPERM)
    body.answer(ALLOW)
    return body


def _personality() -> Assembler:
    body = Assembler()
    body.load_arg(0)
    body.unless_equal(PERSONALITIES, ERRNO | EPERM)
    body.answer(ALLOW)
    return body


def _socket(families: tuple[int, ...]) -> Assembler:
    body = Assembler()
    body.load_arg(0)
    body.unless_equal(families, ERRNO | EAFNOSUPPORT)
    body.load_arg(1)
    body.mask(TYPE_MASK)
    body.unless_equal((STREAM, DGRAM, SEQPACKET), ERRNO | EPROTONOSUPPORT)
    body.load_arg(2)
    body.unless_equal(PROTOCOLS, ERRNO | EPROTONOSUPPORT)
    body.answer(ALLOW)
    return body


def main() -> None:
    for arch in ARCHITECTURES:
        for strict in (False, True):
            path = blob_path(arch, strict=strict)
            path.write_bytes(build(arch, strict=strict))
            sys.stdout.write(f"{path.name}: {path.stat().st_size // 8} instructions\n")


if __name__ == "__main__":
    main()
