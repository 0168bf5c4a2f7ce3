"""Giving a waiting sandbox its one job.

Nothing of the stranger runs yet, so the host puts the files where a direct start has them and writes one
message to the loader. What a runtime reads from its environment while it starts cannot be handed over later:
such jobs take the direct start (`fits`).
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence

from executor.sandbox.arguments import BOX, ENVIRONMENT
from executor.sandbox.limits import KIB
from executor.sandbox.spawn import files_as
from executor.sandbox.started import Started
from shared.jobs import Language, RunRequest

MESSAGE_BYTES = 32 * KIB
"""Half of what a pipe holds: writing it never waits for the loader."""
_SHELL_MESSAGE_BYTES = 2 * KIB
"""bash reads a pipe byte by byte."""
_START = ("LANG", "LC_", "LD_", "LOCPATH", "MALLOC_", "GLIBC_", "GCONV_", "TZ", "OPENSSL_", "SSL_", "PYTHON")
_START_OF_NODE = ("NODE", "UV_", "ICU_", "V8_")
_START_OF: dict[Language, tuple[str, ...]] = {
    "python": (),
    "javascript": _START_OF_NODE,
    "typescript": _START_OF_NODE,
    # Variables that a shell computes, keeps or changes itself.
    "bash": (
        *("BASH", "SHELLOPTS", "SHLVL", "UID", "EUID", "PPID", "IFS", "OPT", "RANDOM", "SRANDOM", "SECONDS"),
        *(
            "EPOCH",
            "GROUPS",
            "DIRSTACK",
            "FUNCNAME",
            "LINENO",
            "HISTCMD",
            "COMP",
            "PIPESTATUS",
            "POSIXLY",
            "_",
        ),
    ),
}
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def fits(request: RunRequest) -> bool:
    """Whether the run would not notice that its runtime was started before it came."""
    if any(name.startswith((*_START, *_START_OF[request.language])) for name in request.env):
        return False
    limit = _SHELL_MESSAGE_BYTES if request.language == "bash" else MESSAGE_BYTES
    if len(message(request.args, request.env)) > limit:
        return False
    names = [file.name for file in request.files]
    if request.language == "python":
        # A module of this name may have been imported already, and not from /box.
        return not any(name.partition(".")[0] in sys.stdlib_module_names for name in names)
    return request.language == "bash" or "package.json" not in names


def message(args: Sequence[str], env: Mapping[str, str]) -> bytes:
    """What `loaders/` read."""
    environment = {**ENVIRONMENT, **env, "PWD": BOX}
    words = [str(len(args)), *args, *(f"{name}={value}" for name, value in environment.items())]
    return b"j" + b"".join(word.encode() + b"\0" for word in words)


def hand_over(started: Started, files: Mapping[str, bytes], job: bytes) -> None:
    """Let it run: the clock and the bill start here. Blocks. `OSError` when the sandbox has died."""
    waiting = started.running
    with files_as(started.identity):
        for name, data in files.items():
            _place(waiting.box_fd, name, data)
    started.account.begin()
    waiting.started_s = time.monotonic()
    os.write(waiting.job, job)
    waiting.close_job()


def _place(box_fd: int, name: str, data: bytes) -> None:
    fd = os.open(name, _NEW_FILE, 0o644, dir_fd=box_fd)
    try:
        os.fchmod(fd, 0o644)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
    finally:
        os.close(fd)
