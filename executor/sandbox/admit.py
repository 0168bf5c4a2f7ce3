"""Put a sandbox that waits at its gate under all limits. Nothing of the snippet has run in it yet."""

import contextlib
import os
import resource
from collections.abc import Mapping

from executor.sandbox.accounting import Account, Admitted
from executor.sandbox.accounting.groups import write
from executor.sandbox.arguments import BOX
from executor.sandbox.errors import RlimitsRefused, SandboxFailed
from executor.sandbox.runtimes import Identity
from executor.sandbox.spawn import this_thread_as

NICENESS = 5
"""Behind the service itself, so that a full machine still answers."""
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def admit(init_pid: int, account: Account) -> tuple[int, int]:
    """Count it, make it die first, put it behind the service. Returns a pidfd of its init and its /box."""
    pidfd = os.pidfd_open(init_pid)
    box_fd = -1
    try:
        # Our root would mean that bwrap died and the pid is somebody else's.
        inside = f"/proc/{init_pid}/root"
        if os.path.samestat(os.stat(f"{inside}/"), os.stat("/")):  # noqa: PTH116 - half the time of pathlib
            raise SandboxFailed("its root is the host's")
        box_fd = os.open(f"{inside}{BOX}", _FOLDER)
        proc_fd = os.open(f"{inside}/proc", _FOLDER)
        try:
            account.admit(Admitted(init_pid, proc_fd))
        finally:
            os.close(proc_fd)
        write(f"/proc/{init_pid}/oom_score_adj", "1000")
        with contextlib.suppress(PermissionError):  # root without CAP_SYS_NICE
            os.setpriority(os.PRIO_PROCESS, init_pid, NICENESS)
    except BaseException:
        os.close(pidfd)
        if box_fd >= 0:
            os.close(box_fd)
        raise
    return pidfd, box_fd


def limit(init_pid: int, identity: Identity, rlimits: Mapping[int, int]) -> None:
    """Limits that init hands down: RLIMIT_NPROC counts in its own user namespace, where it is now (trap 1).

    As its user: a root without CAP_SYS_RESOURCE may not limit the processes of others.
    """
    try:
        with this_thread_as(identity):
            for name, value in rlimits.items():
                resource.prlimit(init_pid, name, (value, value))
    except PermissionError:
        raise RlimitsRefused("this process may not set the resource limits of another user") from None
