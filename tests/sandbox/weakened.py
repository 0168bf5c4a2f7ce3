"""The sandbox with one defence taken away, to show that the attacks it is there for succeed then.

`python -m tests.sandbox.weakened [defence ...]` prints one JSON object: for each defence what
`python -m tests.sandbox` prints, of its attacks. Each is tried in a throw-away process, which is never
repaired. The bombs stop by themselves, so that this machine survives where nothing stops them.
"""

import asyncio
import dataclasses
import json
import multiprocessing
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from executor.sandbox import engine, execute, launch, machine, outputs, runs, spawn, starting
from executor.sandbox.accounting.watchdog import WatchdogAccount
from executor.sandbox.filters.build import ALLOW, RETURN
from executor.sandbox.limits import LIMITS, MIB
from tests.sandbox.__main__ import faults_of
from tests.sandbox.attacks import ATTACKS
from tests.sandbox.attacks.shared import SYSTEM_V_KEY
from tests.sandbox.world import remove_system_v

Words = list[str]
WIDE = dataclasses.replace(
    LIMITS, memory_bytes=4096 * MIB, processes=1024, output_kept_bytes=64 * MIB, output_killed_bytes=64 * MIB
)


def arguments(change: Callable[[Words], Words]) -> None:
    """Start bwrap with changed options."""
    real = launch.bwrap_arguments
    launch.bwrap_arguments = lambda *args, **kwargs: change(real(*args, **kwargs))  # type: ignore[assignment]


def limiter(change: Callable[[Words], Words]) -> None:
    """Set the limits by a program inside, and change its options."""
    _no_limits_from_outside()
    real = starting.limited
    starting.limited = lambda *args, **kwargs: change(real(*args, **kwargs))  # type: ignore[assignment]


def without(*options: str, values: int = 0) -> Callable[[Words], Words]:
    """All occurrences of `options` dropped, with as many words behind each."""

    def change(words: Words) -> Words:
        kept, skip = [], 0
        for word in words:
            if skip:
                skip -= 1
            elif word in options:
                skip = values
            else:
                kept.append(word)
        return kept

    return change


def starting_with(*prefixes: str) -> Callable[[Words], Words]:
    return lambda words: [word for word in words if not word.startswith(prefixes)]


def no_filter() -> None:
    machine.load_filter = lambda **_: struct.pack("<HBBI", RETURN, 0, 0, ALLOW)  # type: ignore[assignment]


def no_private_network() -> None:
    machine.open_networks = lambda _: None  # type: ignore[assignment]
    arguments(without("--unshare-net"))


def no_private_ipc() -> None:
    arguments(without("--unshare-ipc"))


def no_private_processes() -> None:
    # A fresh /proc can only be mounted by a new pid namespace: the host's has to do.
    def change(words: Words) -> Words:
        at = words.index("--proc")
        words[at : at + 2] = ["--ro-bind", "/proc", "/proc"]
        return without("--unshare-pid")(words)

    arguments(change)


def no_read_only_remount() -> None:
    arguments(without("--remount-ro", values=1))


def no_sizes() -> None:
    arguments(without("--size", values=1))


def no_hidden_files() -> None:
    # As if one folder too many were bound, over the run's own.
    def change(words: Words) -> Words:
        at = words.index("--remount-ro")
        return [*words[:at], "--ro-bind", *[tempfile.gettempdir()] * 2, *words[at:]]

    arguments(change)


def no_clean_environment() -> None:
    arguments(without("--clearenv"))
    _popen(inherit_environment=True)


def no_closed_descriptors() -> None:
    _popen(inherit_descriptors=True)


def no_process_limit() -> None:
    limiter(starting_with("--nproc"))
    _count_with(WIDE)


def no_descriptor_limit() -> None:
    limiter(starting_with("--nofile"))


def no_limits_before_the_environment() -> None:
    _no_limits_from_outside()
    starting.through_env = lambda env: []  # type: ignore[assignment]
    arguments(lambda words: [*words, "--setenv", "LD_PRELOAD", "/box/first.so"])


def no_memory_limit() -> None:
    limiter(starting_with("--data"))
    starting.limits_of = lambda _: WIDE  # type: ignore[assignment]
    engine.limits_of = lambda _: WIDE  # type: ignore[assignment]
    WatchdogAccount.over = lambda self: False  # type: ignore[method-assign]


def no_output_limit() -> None:
    defaults = execute.execute.__kwdefaults__
    assert defaults is not None
    defaults["limits"] = WIDE


def no_clock() -> None:
    real = execute._first_end

    async def later(running: Any, timeout_s: float, flooded: asyncio.Event) -> Any:
        return await real(running, timeout_s + 8, flooded)

    execute._first_end = later


def no_nofollow() -> None:
    outputs._OPEN_FOLDER &= ~os.O_NOFOLLOW
    outputs._OPEN_FILE &= ~os.O_NOFOLLOW


def no_limit_of_files() -> None:
    limits = dataclasses.replace(LIMITS, files_out=100_000)
    real = outputs.collect
    runs.collect = lambda box_fd, encoding, _: real(box_fd, encoding, limits)  # type: ignore[assignment]


def no_queue_limit() -> None:
    limiter(starting_with("--msgqueue"))


@dataclass(frozen=True)
class Defence:
    """What is taken away, and the attacks that must succeed without it."""

    take_away: Callable[[], None]
    attacks: tuple[str, ...]
    counted_only: bool = False
    """A watchdog's filter is a second wall: only where a cgroup counts is this one alone."""


DEFENCES = {
    "system call filter": Defence(
        no_filter,
        (
            *("socket of netlink", "tracing", "keyrings", "personality", "the clock"),
            *("new namespaces by clone", "descriptors and pages of others", "typing into a terminal"),
            *("watching what neighbours read", "the machine's asynchronous requests"),
        ),
    ),
    "network namespace": Defence(
        no_private_network,
        ("TCP to a server of the host", "IPv6 to the host", "abstract socket of the host"),
    ),
    "IPC namespace": Defence(
        no_private_ipc, ("System V objects of the host and for the next run",), counted_only=True
    ),
    "pid namespace": Defence(
        no_private_processes,
        ("secrets of other processes", "signals to the executor", "spying on a neighbour"),
    ),
    "read-only remount": Defence(
        no_read_only_remount,
        ("writes to read-only places", "writes to /proc", "files for the next run"),
    ),
    "mount namespace without the host": Defence(
        no_hidden_files,
        ("files of the host", "ways up and out of the root", "UNIX socket of the host"),
    ),
    "sizes of file systems": Defence(no_sizes, ("filling /box", "filling /tmp", "filling /dev/shm")),
    "clean environment": Defence(no_clean_environment, ("secrets in the environment",)),
    "closed descriptors": Defence(no_closed_descriptors, ("secrets behind inherited descriptors",)),
    "process limit": Defence(no_process_limit, ("fork bomb", "thread bomb")),
    "descriptor limit": Defence(no_descriptor_limit, ("flood of descriptors",)),
    "queue limit": Defence(no_queue_limit, ("message queues",), counted_only=True),
    "limits before the environment": Defence(
        no_limits_before_the_environment, ("a library that is loaded first",)
    ),
    "memory limit": Defence(no_memory_limit, ("memory by heap", "memory by shared maps")),
    "output limit": Defence(no_output_limit, ("flood of stdout",)),
    "wall clock": Defence(no_clock, ("busy loop", "ignoring every signal")),
    "O_NOFOLLOW": Defence(no_nofollow, ("results folder linked to the host", "results folder linked twice")),
    "limit of result files": Defence(no_limit_of_files, ("results by the thousand",)),
}
CONTROL = "local sockets, which are allowed"
"""Holds in every sandbox that works at all: what fails beside it fails for want of the defence."""


async def _unjudged(*_: object) -> None:
    """In place of the self-test, which would notice."""


def _no_limits_from_outside() -> None:
    real = starting.Starting.__init__

    def init(self: starting.Starting, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        self.limits_outside = False

    starting.Starting.__init__ = init  # type: ignore[method-assign]


def outcome(name: str) -> tuple[str, dict[str, object]]:
    defence = DEFENCES[name]
    engine.try_machine = _unjudged  # type: ignore[assignment]
    defence.take_away()
    attacks = [ATTACKS[attack] for attack in (CONTROL, *defence.attacks)]
    try:
        return name, asyncio.run(faults_of(attacks, settle_s=0))
    finally:
        remove_system_v(SYSTEM_V_KEY)


def _popen(*, inherit_environment: bool = False, inherit_descriptors: bool = False) -> None:
    class Popen(subprocess.Popen[bytes]):
        def __init__(self, args: Sequence[str], **kwargs: Any) -> None:
            if inherit_environment:
                kwargs["env"] = dict(os.environ)
            if inherit_descriptors:
                kwargs["pass_fds"] = {*kwargs["pass_fds"], *filter(_is_inheritable, range(3, 256))}
            super().__init__(args, **kwargs)

    spawn.subprocess = type("subprocess", (), {"Popen": Popen})  # type: ignore[assignment]


def _count_with(limits: Any) -> None:
    real = machine.choose_accountant
    machine.choose_accountant = lambda choice, _, ahead: real(choice, limits, ahead)  # type: ignore[assignment]


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        found = dict(pool.map(outcome, sys.argv[1:] or list(DEFENCES), chunksize=1))
    sys.stdout.write(json.dumps(found) + "\n")
