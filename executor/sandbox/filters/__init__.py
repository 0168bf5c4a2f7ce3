"""The compiled seccomp filters, one per architecture, and the script that builds them.

`<arch>.bpf` goes with a memory cgroup. `<arch>-strict.bpf` goes with the watchdog: it also denies
the memory that a look at the process tree cannot see.
"""

import platform
from pathlib import Path

ARCHITECTURES = ("x86_64", "aarch64")
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def blob_path(arch: str, *, strict: bool) -> Path:
    """Where the committed filter of `arch` is."""
    return Path(__file__).parent / f"{arch}{'-strict' if strict else ''}.bpf"


def load_filter(*, strict: bool) -> bytes:
    """This machine's filter, as bwrap's `--seccomp` reads it. `LookupError` on other architectures."""
    arch = _MACHINES.get(platform.machine().lower())
    if arch is None:
        raise LookupError(
            f"no seccomp filter is built for {platform.machine()}; known are {', '.join(ARCHITECTURES)}"
        )
    return blob_path(arch, strict=strict).read_bytes()
