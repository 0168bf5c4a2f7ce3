"""Start one sandbox, up to its gate.

bwrap sets everything up, drops its capabilities, closes the `--block-fd` socket (which we see) and
then waits for its seccomp filter, which it reads from a pipe of ours: that pipe is the gate, and
`Launched.go` opens it. Nothing of the snippet has run yet, so the limits and `oom_score_adj` are set
without a race. If we die before the filter is written, bwrap reads an empty filter and gives up.

All calls here block and belong into a worker thread. That thread must live as long as the sandbox:
for `--die-with-parent` it is the parent.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from executor.sandbox.accounting import Account
from executor.sandbox.admit import admit, limit
from executor.sandbox.arguments import ETC, Bind, Descriptors, bwrap_arguments
from executor.sandbox.channels import Channels
from executor.sandbox.errors import RlimitsRefused, SandboxFailed
from executor.sandbox.launched import Launched
from executor.sandbox.limits import LIMITS, START_TIMEOUT_S, Limits
from executor.sandbox.loaders import Loader
from executor.sandbox.networks import Network, Networks
from executor.sandbox.runtimes import Identity, Runtime
from executor.sandbox.spawn import spawn

STATUS_BYTES = 4096


@dataclass(frozen=True)
class Kit:
    """What all runs of this executor share."""

    bwrap: Path
    seccomp: bytes
    runtimes: Sequence[Runtime]
    etc: Mapping[str, bytes] = field(default_factory=lambda: ETC)
    networks: Networks | None = None


@dataclass(frozen=True)
class Job:
    """What to start. `files` maps a name in /box to its content.

    `rlimits` (resource to value) are set on the sandbox before it goes through its gate. With a `loader` in
    place of the `command` the sandbox waits for its job on `Launched.job`. `runtime` is the only one that it
    has besides /usr; None stands for all.
    """

    command: Sequence[str]
    files: Mapping[str, bytes]
    env: Mapping[str, str]
    limits: Limits = LIMITS
    rlimits: Mapping[int, int] = field(default_factory=dict)
    binds: Sequence[Bind] = ()
    loader: Loader | None = None
    runtime: Runtime | None = None


def launch(kit: Kit, job: Job, identity: Identity, account: Account) -> Launched:
    """Start `job` up to its gate. Raises `SandboxFailed`, with nothing left behind, if it does not start.

    Nothing of it runs before `Launched.go`.
    """
    channels = Channels()
    network = None
    try:
        network = kit.networks.take() if kit.networks else None
        launched = _launch(kit, job, identity, account, channels, network)
    except BaseException as exc:
        if network is not None:
            network.close()
        if isinstance(exc, OSError):
            raise SandboxFailed(f"The sandbox did not start: {exc}.") from None
        raise
    finally:
        channels.close()
    if kit.networks and network:
        launched.when_gone = partial(kit.networks.give_back, network)
    return launched


def _launch(  # noqa: PLR0917
    kit: Kit, job: Job, identity: Identity, account: Account, channels: Channels, network: Network | None
) -> Launched:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    stdin, stdout, stderr = channels.towards(), channels.back(), channels.back()
    status, block, gate = channels.back(), channels.pair(), channels.towards()
    os.write(block.ours, b"\0")
    if identity.dropped:
        for fd in (stdin.theirs, stdout.theirs, stderr.theirs):
            os.fchown(fd, identity.uid, identity.gid)  # else /dev/stdout cannot be opened inside
    pipe = channels.towards() if job.loader else None
    reader = channels.copy(pipe.theirs) if pipe else -1
    loader = job.loader.at(pipe.theirs) if job.loader and pipe else Loader([*job.command])
    fds = Descriptors(
        status=status.theirs,
        block=block.theirs,
        seccomp=gate.theirs,
        etc={path: channels.memory(data) for path, data in kit.etc.items()},
        files={name: channels.memory(data) for name, data in job.files.items()},
        loader={path: channels.memory(data) for path, data in loader.files.items()},
    )
    environment = {**job.env, **loader.environment}
    runtimes = (job.runtime,) if job.runtime else kit.runtimes
    words = bwrap_arguments(fds, runtimes, environment, job.limits, job.binds, makes_network=network is None)
    options = channels.memory(b"".join(word.encode() + b"\0" for word in words))
    passed = set(channels.theirs) - {stdin.theirs, stdout.theirs, stderr.theirs}
    with account.joined(), network.joined() if network else nullcontext():
        monitor = spawn(
            [str(kit.bwrap), "--args", str(options), "--", *loader.command],
            identity,
            stdin=stdin.theirs,
            stdout=stdout.theirs,
            stderr=stderr.theirs,
            pass_fds=sorted(passed),
            env={},
            cwd="/",
        )
    channels.close_theirs()
    init_pid, init_pidfd, box_fd = None, -1, -1
    try:
        # First what comes last, to be woken once: the pid was told long before that.
        _wait_until_set_up(block.ours, deadline_s)
        init_pid = _child_pid(status.ours, deadline_s)
        init_pidfd, box_fd = admit(init_pid, account)
        limit(init_pid, identity, job.rlimits)
    except (SandboxFailed, OSError) as exc:
        _kill_unstarted(monitor, init_pid)
        for fd in (init_pidfd, box_fd):
            if fd >= 0:
                os.close(fd)
        if isinstance(exc, RlimitsRefused):
            raise
        raise SandboxFailed(f"The sandbox did not start: {_reason(exc, stderr.ours)}.") from None
    return Launched(
        monitor=monitor,
        init_pid=init_pid,
        monitor_pidfd=os.pidfd_open(monitor.pid),
        init_pidfd=init_pidfd,
        stdin=channels.take(stdin.ours),
        stdout=channels.take(stdout.ours),
        stderr=channels.take(stderr.ours),
        status=channels.take(status.ours),
        box_fd=box_fd,
        gate=channels.take(gate.ours),
        seccomp=kit.seccomp,
        job=channels.take(pipe.ours) if pipe else -1,
        job_reader=channels.take(reader) if reader >= 0 else -1,
        started_s=time.monotonic(),
    )


def _child_pid(status_fd: int, deadline_s: float) -> int:
    """The pid of the sandbox's init, from bwrap's status. It comes in several writes (trap 3)."""
    text = b""
    while b"}" not in text and len(text) < STATUS_BYTES:
        _wait(status_fd, deadline_s)
        chunk = os.read(status_fd, STATUS_BYTES - len(text))
        if not chunk:
            break
        text += chunk
    try:
        pid = json.loads(text[: text.index(b"}") + 1])["child-pid"]
    except (ValueError, KeyError, TypeError):
        raise SandboxFailed("bwrap did not say which process it started") from None
    if not isinstance(pid, int) or pid <= 1:
        raise SandboxFailed("bwrap named an impossible process")
    return pid


def _wait_until_set_up(block_fd: int, deadline_s: float) -> None:
    """Wait until bwrap has taken the byte and closed the socket, or died."""
    _wait(block_fd, deadline_s)
    with contextlib.suppress(ConnectionResetError):  # closed with the byte in it: bwrap died
        os.read(block_fd, 1)


def _wait(fd: int, deadline_s: float) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if not poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
        raise SandboxFailed(f"it was not set up within {START_TIMEOUT_S:.0f} s")


def _kill_unstarted(monitor: subprocess.Popen[bytes], init_pid: int | None) -> None:
    """End a bwrap that did not get through its gate, its children first."""
    children = {init_pid} if init_pid else _children_of(monitor.pid)
    for pid in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    monitor.kill()
    monitor.wait()
    for pid in children:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _children_of(parent: int) -> set[int]:
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found.add(int(process.name))
    return found


def _reason(exc: Exception, stderr_fd: int) -> str:
    """What bwrap said, else what we saw."""
    os.set_blocking(stderr_fd, False)
    with contextlib.suppress(BlockingIOError):
        said = os.read(stderr_fd, STATUS_BYTES).decode("utf-8", "replace").strip()
        if said:
            return said.splitlines()[-1].removeprefix("bwrap: ")
    return str(exc) or type(exc).__name__
