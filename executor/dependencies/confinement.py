"""The sandbox of a build: like that of a run, but with the network, and with a folder that stays.

What strangers' packages can do to the installer is bounded by the same walls as what their code can do
in a run: no capabilities, seccomp, a pid namespace that ends with it, nothing of the host but /usr.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox.arguments import NAMESPACES, system
from executor.sandbox.bench import Bench

ROOM, UV = "/build", "/uv"
SITE, CACHE = f"{ROOM}/site", f"{ROOM}/cache"
MEMORY_BYTES = 1024**3
NICENESS = 10

# Names are looked up, certificates checked and libraries found as on the host.
_HOST_FILES = (
    "/etc/ld.so.cache",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl/certs",
    "/etc/ca-certificates",
    "/etc/pki",
)
# Inside, where a root without CAP_SYS_RESOURCE can set them too.
_LIMITER = (
    "import os,resource as r,sys\n"
    "for n,v in ((r.RLIMIT_CORE,0),(r.RLIMIT_FSIZE,{file_bytes}),(r.RLIMIT_DATA,{data_bytes})):\n"
    " r.setrlimit(n,(v,v))\n"
    "os.nice({niceness})\n"
    "os.execv(sys.argv[1],sys.argv[1:])"
)


@dataclass(frozen=True)
class Build:
    """Where a build works: `room` is what it can write, and keep at most `most_bytes` in one file."""

    room: Path
    uv: Path
    most_bytes: int
    environment: Mapping[str, str]
    certificates: Path | None = None


def arguments(bench: Bench, build: Build, seccomp_fd: int) -> list[str]:
    """bwrap's options, without the program and the command."""
    shared = [*_HOST_FILES, *([str(build.certificates)] if build.certificates else [])]
    told = {
        "PATH": "/usr/bin:/bin",
        "HOME": ROOM,
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",  # noqa: S108 - the build's own
        **build.environment,
    }
    return [
        *(word for word in NAMESPACES if word != "--unshare-net"),
        # No --new-session: the builder starts one, so that its whole group can be killed at once.
        *("--die-with-parent", "--cap-drop", "ALL", "--clearenv"),
        *("--uid", "1000", "--gid", "1000", "--hostname", "build", "--chdir", ROOM),
        *("--seccomp", str(seccomp_fd)),
        *system((bench.python,)),
        *(word for path in shared for word in ("--ro-bind-try", path, path)),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--perms", "1777", "--size", str(64 * 1024**2), "--tmpfs", "/tmp"),  # noqa: S108
        *("--bind", str(build.room), ROOM, "--ro-bind", str(build.uv), UV),
        *("--remount-ro", "/dev", "--remount-ro", "/"),
        *(word for name, value in told.items() for word in ("--setenv", name, value)),
    ]


def limited(bench: Bench, build: Build, command: list[str]) -> list[str]:
    """`command` behind resource limits, at low priority."""
    script = _LIMITER.format(file_bytes=build.most_bytes, data_bytes=MEMORY_BYTES, niceness=NICENESS)
    return [bench.python.path, "-I", "-S", "-c", script, *command]
