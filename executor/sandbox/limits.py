"""What one run may use (sandbox.md, "What a run gets, always"). Bytes and seconds, as named."""

from dataclasses import dataclass

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """The limits of every run."""

    memory_bytes: int = 512 * MIB
    processes: int = 64
    descriptors: int = 256
    output_kept_bytes: int = 256 * KIB
    output_killed_bytes: int = 32 * MIB
    box_bytes: int = 64 * MIB
    tmp_bytes: int = 64 * MIB
    shm_bytes: int = 64 * MIB
    inodes: int = 65_536
    sockets: int = 512
    """Sockets at a time where no cgroup counts their buffers (208 KiB each)."""
    files_out: int = 64
    files_out_bytes: int = 8 * MIB


LIMITS = Limits()

START_TIMEOUT_S = 10.0
"""A sandbox that is not up by then never will be."""

END_TIMEOUT_S = 10.0
"""How long the kernel may take to tear a killed namespace down."""
