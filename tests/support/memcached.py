"""A real Memcached: the one on the PATH, or what `scripts/setup.sh` put into `.tools`."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.services import READY_S

TOOLS = Path(__file__).parents[2] / ".tools"


@contextmanager
def running_memcached(*options: str) -> Iterator[str]:
    """Its `host:port`, for the length of the block. Skips where there is none."""
    program = shutil.which("memcached") or shutil.which("memcached", path=str(TOOLS / "usr/bin"))
    if program is None:
        pytest.skip("memcached is not installed (Debian: apt install memcached)")
    port = free_port()
    libraries = ":".join(str(path) for path in (TOOLS / "usr/lib").glob("*-linux-*"))
    user = ("-u", "nobody") if os.geteuid() == 0 else ()
    process = subprocess.Popen(
        [program, "-l", "127.0.0.1", "-p", str(port), *user, *options],
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
    )
    try:
        _wait(port, process)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(40)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("Memcached did not start")
