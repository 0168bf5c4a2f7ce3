"""Requests that are an attack before anything runs: what they carry, and what their environment does."""

import base64
import platform

from shared.errors import GalaksioError
from shared.jobs import RunResult
from tests.sandbox.attack import Attack, ExpectRefusal, Verdict, says, tail
from tests.sandbox.preload import LIBRARY, records

SHOW_LIMITS = """
import resource
print([resource.getrlimit(number)[1] for number in (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE)])
"""
NODE_LIMITS = "console.log(fs.readFileSync('/proc/self/limits', 'utf8').match(/Max processes +(\\d+)/)[1])"
BASH_LIMITS = "ulimit -u; ulimit -n; ulimit -c"
LOADED = "import subprocess\nsubprocess.run(['/usr/bin/env', 'true'], check=True)"


def refuses(status: int, code: str) -> ExpectRefusal:
    def refused(exc: GalaksioError) -> Verdict:
        return None if (exc.status, exc.code) == (status, code) else f"refused as {exc.status} {exc.code}"

    return refused


def never_runs(result: RunResult) -> Verdict:
    return f"it ran ({tail(result)})"


def limited_from_the_first_program(result: RunResult) -> Verdict:
    """Each program that loads the library writes its limit of processes: none may be without."""
    seen = records(base64.b64decode(result.stdout))
    if not seen:
        return f"the library was never loaded ({tail(result)})"
    return None if set(seen) == {64} else f"it ran with a limit of {max(seen)} processes"


def x86_only() -> str | None:
    return None if platform.machine() == "x86_64" else "the library is machine code for x86_64"


ATTACKS = [
    Attack(
        "NUL in the code", "print(1)\0print(2)", never_runs, refused=refuses(422, "nul_in_code"), kit=False
    ),
    Attack(
        "half a character in the code", "print('\ud800')", never_runs, refused=refuses(422, "invalid_text")
    ),
    Attack(
        "arguments too large to start",
        "print(1)",
        never_runs,
        request={"args": ["x" * 60_000, "y" * 60_000]},
        refused=refuses(422, "arguments_too_large"),
    ),
    Attack(
        "files outside of the box",
        "print(1)",
        never_runs,
        request={"files": [{"name": "../../usr/bin/env", "content": "x"}]},
        refused=refuses(400, "invalid_request"),
    ),
    Attack(
        "a file in place of the code",
        "print(1)",
        never_runs,
        request={"files": [{"name": "main.py", "content": "x"}]},
        refused=refuses(422, "reserved_file_name"),
    ),
    Attack(
        "eight megabytes of code",
        "#" + "x" * (8 << 20) + "\nprint('read')",
        says("read\n"),
        kit=False,
    ),
    Attack(
        "arguments that look like options",
        "print(sys.argv[1:])",
        says("['--bind', '/', '/', '--', '-c', 'x\\ny', '$(id)']\n"),
        request={"args": ["--bind", "/", "/", "--", "-c", "x\ny", "$(id)"]},
    ),
    Attack(
        "a library that is loaded first",
        LOADED,
        limited_from_the_first_program,
        request={
            "env": {"LD_PRELOAD": "/box/first.so"},
            "files": [
                {"name": "first.so", "content": base64.b64encode(LIBRARY).decode(), "encoding": "base64"}
            ],
            "encoding": "base64",
        },
        kit=False,
        only=x86_only,
    ),
    Attack(
        "python's environment",
        SHOW_LIMITS,
        says("tricked\n[64, 256]\n"),
        request={
            "env": {"PYTHONPATH": "/box", "PYTHONSTARTUP": "/box/sitecustomize.py", "PYTHONINSPECT": "1"},
            "files": [{"name": "sitecustomize.py", "content": "print('tricked')"}],
        },
    ),
    Attack(
        "node's environment",
        NODE_LIMITS,
        says("tricked\n64\n"),
        "javascript",
        request={
            "env": {"NODE_OPTIONS": "--require /box/first.js --max-old-space-size=8000", "NODE_PATH": "/box"},
            "files": [{"name": "first.js", "content": "console.log('tricked')"}],
        },
    ),
    Attack(
        "bash's environment",
        BASH_LIMITS,
        says("tricked\n64\n256\n0\n"),
        "bash",
        request={
            "env": {**dict.fromkeys(("BASH_ENV", "ENV"), "/box/first"), "IFS": "/", "PS4": "$(id)"},
            "files": [{"name": "first", "content": "echo tricked; ulimit -u 9999 2>/dev/null"}],
        },
    ),
]
