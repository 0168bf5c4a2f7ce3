"""The resource limits of a run.

They are set on the init of the sandbox while it waits at its gate (`outside`), or, where the kernel does not
allow that, by a program inside the sandbox that then becomes the runtime (`limited`).
Never before the namespace is made: RLIMIT_NPROC would be shared by all runs of a uid (trap 1).
"""

import resource
from collections.abc import Mapping, Sequence
from pathlib import Path

from executor.sandbox.limits import KIB, Limits
from executor.sandbox.runtimes import Runtime

# Tried in this order; the first two are part of nearly every system, the third of every Python.
_PRLIMIT = ("/usr/bin/prlimit", "/bin/prlimit")
_SHELL = "/bin/sh"
ENV_PROGRAM = "/usr/bin/env"
_SHELL_SCRIPT = (
    "ulimit -c 0 && ulimit -n {files} && ulimit -d {data_kib} && {{ ulimit -u {nproc} 2>/dev/null || "
    'ulimit -p {nproc}; }} && exec "$@"; exit 126'
)
_PYTHON_SCRIPT = (
    "import os,resource as r,sys\n"
    "limits={{r.RLIMIT_CORE:0,r.RLIMIT_NOFILE:{files},r.RLIMIT_DATA:{data},r.RLIMIT_NPROC:{nproc}}}\n"
    "for n,v in limits.items():\n"
    " r.setrlimit(n,(v,v))\n"
    "os.execv(sys.argv[1],sys.argv[1:])"
)


def outside(data_bytes: int, limits: Limits) -> dict[int, int]:
    """The limits by their numbers, for `Job.rlimits`."""
    return {
        resource.RLIMIT_NPROC: limits.processes,
        resource.RLIMIT_DATA: data_bytes,
        resource.RLIMIT_NOFILE: limits.descriptors,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }


def through_env(env: Mapping[str, str]) -> list[str]:
    """What sets `env` behind the limits.

    With LD_PRELOAD among it, the program that sets the limits would else run the caller's code before them.
    """
    return [ENV_PROGRAM, *(f"{name}={value}" for name, value in env.items())] if env else []


def prlimit_program() -> str | None:
    """util-linux's `prlimit`; slim images come without it."""
    return next((path for path in _PRLIMIT if Path(path).is_file()), None)


def shell_program() -> str | None:
    return _SHELL if Path(_SHELL).exists() else None


def limited(
    command: Sequence[str],
    data_bytes: int,
    limits: Limits,
    *,
    prlimit: str | None,
    shell: str | None,
    python: Runtime | None,
) -> list[str]:
    """`command` behind the first limiter that is given. `LookupError` when there is none."""
    figures = {
        "nproc": limits.processes,
        "files": limits.descriptors,
        "data": data_bytes,
        "data_kib": data_bytes // KIB,
    }
    if prlimit:
        options = [f"--{name}={figures[name]}:{figures[name]}" for name in ("nproc", "data")]
        options += [f"--nofile={limits.descriptors}:{limits.descriptors}", "--core=0:0", "--msgqueue=0:0"]
        return [prlimit, *options, "--", *command]
    if shell:
        return [shell, "-c", _SHELL_SCRIPT.format(**figures), "limits", *command]
    if python:
        return [python.path, "-I", "-S", "-c", _PYTHON_SCRIPT.format(**figures), *command]
    raise LookupError("neither prlimit (util-linux) nor /bin/sh nor python3 is there to set resource limits")
