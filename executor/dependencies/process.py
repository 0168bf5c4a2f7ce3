"""One confined program of a build, watched until it ends: for its time, its size and our own end."""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from executor.dependencies import confinement
from executor.dependencies.confinement import Build
from executor.dependencies.contents import size_of, too_large
from executor.dependencies.errors import DependenciesUnavailable, DependencyTimeout
from executor.sandbox.bench import Bench
from executor.sandbox.channels import Channels

STEP_S = 0.02
LOOK_EVERY_S = 0.3
END_S = 5.0
SAID_BYTES = 16_384


@dataclass(frozen=True)
class Watch:
    """When to end a build: at `deadline_s` (monotonic), beyond `most_bytes` in its room, or on `closing`."""

    deadline_s: float
    most_bytes: int
    closing: Event


def run(bench: Bench, build: Build, command: list[str], watch: Watch) -> tuple[int, str]:
    """Run `command` and return its exit code and the end of what it said. Blocks; nothing is left alive.

    The calling thread must outlive the program (`--die-with-parent`). Raises `DependencyTimeout`,
    `DependenciesTooLarge`, or `DependenciesUnavailable` when the executor closes.
    """
    log = build.room.with_suffix(".log")
    channels = Channels()
    try:
        seccomp = channels.memory(bench.seccomp)
        words = confinement.arguments(bench, build, seccomp)
        options = channels.memory(b"".join(word.encode() + b"\0" for word in words))
        inside = confinement.limited(bench, build, command)
        with log.open("wb") as said:
            process = subprocess.Popen(  # type: ignore[call-overload]
                [str(bench.bwrap), "--args", str(options), "--", *inside],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=[seccomp, options],
                env={},
                cwd="/",
                start_new_session=True,
                **bench.identity.popen(),
            )
    finally:
        channels.close()
    try:
        code = _wait(process, build.room, watch)
    finally:
        _end(process)
    return code, _tail(log)


def _wait(process: "subprocess.Popen[bytes]", room: Path, watch: Watch) -> int:
    look_at_s = time.monotonic() + LOOK_EVERY_S
    while process.poll() is None:
        now_s = time.monotonic()
        if watch.closing.wait(STEP_S):
            raise DependenciesUnavailable("The executor is shutting down; nothing was charged.")
        if now_s > watch.deadline_s:
            raise DependencyTimeout(
                "The dependencies were not ready in time; nothing was charged. What came is kept: ask again."
            )
        if now_s > look_at_s:
            if size_of(room, watch.most_bytes) > watch.most_bytes:
                raise too_large(watch.most_bytes)
            look_at_s = time.monotonic() + LOOK_EVERY_S
    return process.returncode


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the whole group and reap what of it falls to us, a subreaper (sandbox.md, trap 2)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until_s = time.monotonic() + END_S
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < until_s:
            if os.waitpid(-process.pid, os.WNOHANG)[0] == 0:
                time.sleep(STEP_S)


def _tail(log: Path) -> str:
    with log.open("rb") as said:
        said.seek(max(0, log.stat().st_size - SAID_BYTES))
        return said.read().decode("utf-8", "replace")
