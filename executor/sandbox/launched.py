"""A sandbox that runs: killing it, reaping it, asking how it ended."""

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass

from executor.sandbox.accounting import Account, Usage
from executor.sandbox.errors import SandboxFailed
from executor.sandbox.limits import END_TIMEOUT_S, KIB


@dataclass
class Launched:
    """One running sandbox. `stdin`, `stdout` and `stderr` are the captures' to close, the rest `close`'s.

    `monitor` is bwrap itself, our child; `init` is pid 1 of the sandbox, its child. It stands at its `gate`
    until `go` gives it its filter: nothing of the job has run before that.
    """

    monitor: subprocess.Popen[bytes]
    init_pid: int
    monitor_pidfd: int
    init_pidfd: int
    stdin: int
    stdout: int
    stderr: int
    status: int
    box_fd: int
    gate: int
    seccomp: bytes
    started_s: float
    job: int = -1
    """Where a waiting sandbox is told its job; -1 once it was, or if it did not wait."""
    job_reader: int = -1
    """The end of that pipe that the sandbox reads, for `job_unread`; -1 if it did not wait."""
    gone: bool = False
    """Whether nothing of it is alive any more, for certain."""
    when_gone: Callable[[], None] | None = None
    """Takes back what the sandbox had to itself; called once that is sure."""

    @property
    def alive(self) -> bool:
        poll = select.poll()
        poll.register(self.monitor_pidfd, select.POLLIN)
        return not poll.poll(0)

    @property
    def job_unread(self) -> bool:
        """Whether a job was told and not read to its end: nothing of it has run."""
        if self.job_reader < 0:
            return False
        count = ctypes.c_int()
        fcntl.ioctl(self.job_reader, termios.FIONREAD, count)
        return count.value > 0

    def go(self) -> None:
        """Open the gate. Its clock starts. `OSError` when the sandbox has died at it."""
        if not self.alive:
            raise ProcessLookupError("bwrap is dead")
        self.started_s = time.monotonic()
        os.write(self.gate, self.seccomp)
        self._close_gate()

    def kill(self) -> None:
        """End everything in the sandbox at once; harmless when it has ended."""
        for pidfd in (self.init_pidfd, self.monitor_pidfd):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def finish(self, account: Account) -> Usage:
        """Wait for the monitor and for init, which falls to us (trap 2), and close the account.

        The kernel lets init die only after everything else in its pid namespace: when this returns,
        nothing of the run is alive. Raises `SandboxFailed` if that takes more than `END_TIMEOUT_S`.
        """
        for pidfd in (self.monitor_pidfd, self.init_pidfd):
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(END_TIMEOUT_S * 1000):
                raise SandboxFailed("A sandbox did not end when it was killed.")
        self.monitor.wait()
        self.gone = True
        try:
            used = os.wait4(self.init_pid, 0)[2]
        except ChildProcessError:
            used = None  # the monitor reaped it
        if self.when_gone:
            self.when_gone()
        usage = account.close()
        return usage if used is None else _complete(usage, used)

    def exit_code(self) -> int | None:
        """What the command ended with (128+n for signal n).

        None if bwrap never got to start it, or was killed before it ended: bwrap writes the code only
        for a command that was really executed.
        """
        text = b""
        os.set_blocking(self.status, False)
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.status, 4096):
                text += chunk
        for line in text.splitlines():
            with contextlib.suppress(ValueError):
                if "exit-code" in (document := json.loads(line)):
                    return int(document["exit-code"])
        return None

    def discard(self) -> None:
        """Close everything of a run that nobody drove."""
        for fd in (self.stdin, self.stdout, self.stderr):
            os.close(fd)
        self.close()

    def close(self) -> None:
        """With `box_fd` the last hold on the run's files goes."""
        for fd in (self.monitor_pidfd, self.init_pidfd, self.status, self.box_fd):
            os.close(fd)
        self._close_gate()
        self.close_job()
        if self.job_reader >= 0:
            os.close(self.job_reader)
            self.job_reader = -1

    def _close_gate(self) -> None:
        if self.gate >= 0:
            os.close(self.gate)
            self.gate = -1

    def close_job(self) -> None:
        if self.job >= 0:
            os.close(self.job)
            self.job = -1


def _complete(usage: Usage, used: resource.struct_rusage) -> Usage:
    """A run shorter than the watchdog's look is known by what the kernel says of the dead init."""
    if usage.counted:
        return usage
    dead_cpu_ms = round((used.ru_utime + used.ru_stime) * 1000) - usage.cpu_before_ms
    cpu_ms = max(usage.cpu_ms or 0, dead_cpu_ms)
    peak_bytes = max(usage.peak_memory_bytes or 0, used.ru_maxrss * KIB)
    return Usage(cpu_ms, peak_bytes, usage.oom_killed)
