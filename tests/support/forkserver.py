"""Forks processes that have the libraries of our services imported already: `-m tests.support.forkserver FD`.

Its client is `tests/support/programs.py`. Over the socket FD it takes one line of JSON per order and answers
with one line: `{"module", "arguments", "env", "cwd"}` and three descriptors start a program (its pid is the
answer), `{"reap": pid}` waits for one (its exit status is the answer, negative for a signal).
"""

import ast
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OURS = ("quote", "broker", "executor", "shared", "devnet", "galaksio", "cli")
DRIVERS = ("uvicorn.loops.auto", "uvloop", "httptools", "aiosqlite", "sqlalchemy.dialects.sqlite.aiosqlite")
"""What libraries import by name at run time."""


def serve(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork for each order. Returns in the child, with its order and its files.

    When the client is gone, so is whatever it left running: its tests were killed.
    """
    received, files, running = b"", list[int](), set[int]()
    while True:
        data, fds, _, _ = socket.recv_fds(channel, 1 << 16, 3)
        if not data:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
            return None
        received, files = received + data, files + fds
        if not received.endswith(b"\n"):
            continue
        order = json.loads(received)
        if "reap" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["reap"], 0)[1])
            running.remove(order["reap"])
        else:
            answer = os.fork()
            if answer == 0:
                return order, files
            running.add(answer)
        for fd in files:
            os.close(fd)
        received, files = b"", []
        channel.sendall(f"{answer}\n".encode())


def become(order: dict[str, Any], files: list[int]) -> None:
    """Be `python -m MODULE`."""
    for target, fd in enumerate(files):
        os.dup2(fd, target)
        os.close(fd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    more = os.environ.get("PYTHONPATH", "")
    sys.path[0:1] = [order["cwd"], *filter(None, more.split(os.pathsep))]
    sys.argv[:] = [order["module"], *order["arguments"]]
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)


def libraries() -> Iterator[str]:
    """The modules which our code imports, but for our own."""
    for package in OURS:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Import):
                    yield from (name.name for name in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    yield node.module


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests; they stop what they started
    for name in sorted({*libraries(), *DRIVERS}):
        if name.partition(".")[0] not in OURS:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    assert threading.active_count() == 1, "a library started a thread: forking is not safe"
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        job = serve(channel)
    if job is not None:
        become(*job)


if __name__ == "__main__":
    main()
