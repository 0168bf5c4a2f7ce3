"""`python -m MODULE` by forking a process that has the libraries imported already.

Our services spend one to two seconds of CPU on importing web3, FastAPI, SQLAlchemy and others, and the tests
start some two hundred of them. One process per test session imports those libraries, none of our own modules,
and forks: what is imported of ours, started and ended is the real thing, with its own environment, folder and
output. Tests of starting itself (`uvicorn`, `galaksio up`) use fresh interpreters.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any, TextIO

ROOT = Path(__file__).parents[2]


class Child:
    """A forked program, with the part of `subprocess.Popen` that the tests use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        # The server reaps it only when we ask for its status: until then the pid is no other process's.
        self._pidfd = os.pidfd_open(pid)
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, negative for a signal. Raises `subprocess.TimeoutExpired` after `timeout` s."""
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        with self._lock:
            if self.returncode is None:
                signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout_s: float | None) -> int | None:
        if self.returncode is not None:
            return self.returncode
        waiter = select.poll()
        waiter.register(self._pidfd, select.POLLIN)
        if not waiter.poll(None if timeout_s is None else timeout_s * 1000):
            return None
        with self._lock:
            if self.returncode is None:
                self.returncode = _ask({"reap": self.pid})
                os.close(self._pidfd)
        return self.returncode


Program = Child | subprocess.Popen[bytes]


def start(
    module: str,
    *arguments: str,
    env: dict[str, str],
    cwd: Path,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes],
    stderr: IO[bytes] | None = None,
) -> Program:
    """Run `python -m module arguments…`; without `stderr` both outputs go to `stdout`."""
    if not hasattr(os, "pidfd_open"):
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=env,
            cwd=cwd,
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr or subprocess.STDOUT,
        )
    order = {"module": module, "arguments": arguments, "env": env, "cwd": str(cwd)}
    with Path(os.devnull).open("rb") as nothing:
        files = [file.fileno() for file in (stdin or nothing, stdout, stderr or stdout)]
        return Child(_ask(order, files))


class Recorded:
    """A program whose output is kept for `communicate`."""

    def __init__(self, module: str, *arguments: str, env: dict[str, str], cwd: Path, text: str = "") -> None:
        with tempfile.TemporaryFile() as told:
            told.write(text.encode())
            told.seek(0)
            self._files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
            out, err = self._files
            self.program = start(module, *arguments, env=env, cwd=cwd, stdin=told, stdout=out, stderr=err)
        self._said: list[str] = []

    @property
    def returncode(self) -> int | None:
        return self.program.returncode

    def poll(self) -> int | None:
        return self.program.poll()

    def terminate(self) -> None:
        self.program.terminate()

    def kill(self) -> None:
        self.program.kill()

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Standard output and error, once it has ended. Raises `subprocess.TimeoutExpired`."""
        self.program.wait(timeout)
        for file in self._files[len(self._said) :]:
            with file:
                file.seek(0)
                self._said.append(file.read().decode())
        out, err = self._said
        return out, err


def run(
    module: str, *arguments: str, env: dict[str, str], cwd: Path, text: str = "", timeout_s: float = 100
) -> subprocess.CompletedProcess[str]:
    """Run to the end, with `text` as standard input. Raises `subprocess.TimeoutExpired`."""
    program = Recorded(module, *arguments, env=env, cwd=cwd, text=text)
    try:
        program.communicate(timeout_s)
    finally:
        program.kill()
        out, err = program.communicate(timeout_s)
    return subprocess.CompletedProcess([module, *arguments], program.returncode or 0, out, err)


# -- the server, started for the first order -------------------------------------------------------

_server: tuple[socket.socket, TextIO] | None = None
_asking = threading.Lock()


def _ask(order: dict[str, Any], files: list[int] | None = None) -> int:
    global _server  # noqa: PLW0603
    with _asking:
        if _server is None:
            _server = _start_server()
        channel, answers = _server
        message = json.dumps(order).encode() + b"\n"
        sent = socket.send_fds(channel, [message], files) if files else 0
        channel.sendall(message[sent:])
        return int(answers.readline())


def _start_server() -> tuple[socket.socket, TextIO]:
    ours, theirs = socket.socketpair()
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-u", "-m", "tests.support.forkserver", str(theirs.fileno())],
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
    answers = ours.makefile()

    def stop() -> None:
        answers.close()
        ours.close()
        server.wait(10)

    atexit.register(stop)
    return ours, answers
