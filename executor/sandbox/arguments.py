"""bubblewrap's arguments (sandbox.md, "How"): what the inside of a run looks like."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from executor.sandbox.limits import LIMITS, Limits
from executor.sandbox.runtimes import Runtime
from executor.sandbox.sizes import words_of

BOX, OUT = "/box", "/box/out"
INNER_UID = 1000

ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": BOX,
    "TMPDIR": "/tmp",  # noqa: S108 - the run's own
    "LANG": "C.UTF-8",
    "USER": "box",
}

ETC: dict[str, bytes] = {
    "/etc/passwd": b"box:x:1000:1000::/box:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "/etc/group": b"box:x:1000:\nnogroup:x:65534:\n",
    "/etc/hosts": b"127.0.0.1 localhost box\n::1 localhost\n",
    "/etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
}
# What programs of /usr need to start: links such as /usr/bin/awk, the loader's cache, the time zone. The two
# files are copied: a bind costs bwrap a look at all mounts.
_ETC_LINKS = "/etc/alternatives"
_ETC_COPIED = ("/etc/ld.so.cache", "/etc/localtime")
_ROOT_LINKS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")

NAMESPACES = (
    "--unshare-user",
    "--unshare-ipc",
    "--unshare-pid",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--disable-userns",
)
CONFINEMENT = ("--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv")


@dataclass(frozen=True)
class Descriptors:
    """The descriptor numbers that bwrap reads: the gate is the seccomp pipe (see `launch.py`).

    `files` maps a name in /box to a descriptor, `loader` an absolute path.
    """

    status: int
    block: int
    seccomp: int
    etc: Mapping[str, int]
    files: Mapping[str, int]
    loader: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Bind:
    """A folder of the host that a run sees, read-only, at `inside`."""

    host: Path
    inside: str


def bwrap_arguments(
    fds: Descriptors,
    runtimes: Iterable[Runtime],
    env: Mapping[str, str],
    limits: Limits = LIMITS,
    binds: Sequence[Bind] = (),
    *,
    makes_network: bool = True,
) -> list[str]:
    """All options, without the program and the command.

    `makes_network` is False for a sandbox that is born in an empty network (`networks.py`).
    """
    return [
        *NAMESPACES,
        *(["--unshare-net"] if makes_network else []),
        *CONFINEMENT,
        *_words("--uid", INNER_UID, "--gid", INNER_UID, "--hostname", "box", "--chdir", BOX),
        *_words("--json-status-fd", fds.status, "--block-fd", fds.block, "--seccomp", fds.seccomp),
        *system(tuple(runtimes)),
        *(word for bind in binds for word in _words("--ro-bind", bind.host, bind.inside)),
        *(word for path, fd in fds.etc.items() for word in _words("--perms", "0444", "--file", fd, path)),
        *_words("--proc", "/proc", "--dev", "/dev"),
        *_words("--perms", "1777", "--size", limits.shm_bytes, "--tmpfs", "/dev/shm"),  # noqa: S108
        *_words("--perms", "1777", "--size", limits.tmp_bytes, "--tmpfs", "/tmp"),  # noqa: S108
        *_words("--perms", "0755", "--size", limits.box_bytes, "--tmpfs", BOX, "--dir", OUT),
        *(
            word
            for name, fd in fds.files.items()
            for word in _words("--perms", "0644", "--file", fd, f"{BOX}/{name}")
        ),
        *(word for path, fd in fds.loader.items() for word in _words("--perms", "0444", "--file", fd, path)),
        *(word for bind in binds for word in _words("--ro-bind", bind.host, bind.inside)),
        # After all mounts: bwrap leaves two as writable tmpfs (trap 4). In /proc a run could lower its
        # oom_score_adj and write into the memory of its init.
        *_words("--remount-ro", "/dev", "--remount-ro", "/proc", "--remount-ro", "/"),
        *(word for name, value in {**ENVIRONMENT, **env}.items() for word in ("--setenv", name, value)),
    ]


def command(runtime: Runtime, args: Iterable[str], limits: Limits = LIMITS) -> list[str]:
    """What runs inside: the runtime on the code, with the caller's arguments."""
    return [*words_of(runtime, limits), f"{BOX}/{runtime.code_name}", *args]


def etc_files() -> dict[str, bytes]:
    """The files of /etc: ours, and copies of the machine's as they are now. Blocks."""
    return {**ETC, **{path: Path(path).read_bytes() for path in _ETC_COPIED if Path(path).is_file()}}


@cache
def system(runtimes: tuple[Runtime, ...]) -> list[str]:
    """The programs of the host, to read only, and no more of /etc than they need to start."""
    words = _words("--ro-bind", "/usr", "/usr")
    for link in _ROOT_LINKS:
        if Path(link).is_symlink():
            words += _words("--symlink", Path(link).readlink(), link)
        elif Path(link).is_dir():
            words += _words("--ro-bind", link, link)
    words += _words("--ro-bind-try", _ETC_LINKS, _ETC_LINKS)
    for prefix in sorted({runtime.prefix for runtime in runtimes if runtime.prefix}):
        words += _words("--ro-bind", prefix, prefix)
    for program, inside in sorted({(r.program, r.path) for r in runtimes if r.program}):
        words += _words("--ro-bind", program, inside)
    return words


def _words(*parts: object) -> list[str]:
    return [str(part) for part in parts]
