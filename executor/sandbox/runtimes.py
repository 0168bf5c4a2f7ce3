"""The languages that this machine can really run.

A runtime is the first candidate that the uid of the runs can start: it is started as that uid and
asked for its real path and version. That one rule covers shims (trap 7), programs under a 0700 home
(bwrap opens what it binds as the dropped uid) and broken installations alike.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from executor.sandbox.limits import MIB
from shared.jobs import CODE_NAMES, Language

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROBE_TIMEOUT_S = 10

_PROBES: dict[Language, tuple[str, ...]] = {
    "python": (
        "-I",
        "-c",
        "import json,os,platform,sys;"
        "print(json.dumps([os.path.realpath(sys.executable),platform.python_version(),sys.base_prefix]))",
    ),
    "javascript": (
        "-e",
        "const p=require('path');console.log(JSON.stringify("
        "[process.execPath,process.versions.node,p.dirname(p.dirname(process.execPath))]))",
    ),
    "bash": ("--norc", "-c", 'printf \'["%s","%s",""]\' "$BASH" "${BASH_VERSION%%(*}"'),
}
_NAMES: dict[Language, tuple[str, ...]] = {
    "python": ("python3",),
    "javascript": ("node", "nodejs"),
    "bash": ("bash",),
}
_ARGUMENTS: dict[Language, tuple[str, ...]] = {
    "python": ("-s", "-B"),
    "javascript": ("--max-old-space-size=384",),
    "bash": ("--norc", "--noprofile"),
}
SUFFIXES: dict[Language, str] = {"python": ".py", "javascript": ".js", "bash": ".sh"}
# Not RLIMIT_AS: it breaks threads and node, which reserve much and touch little.
DATA_BYTES: dict[Language, int] = {"python": 640 * MIB, "javascript": 1536 * MIB, "bash": 1536 * MIB}
INSTALL: dict[Language, str] = {
    "python": "install python3 where every user can read it (e.g. /usr/bin/python3)",
    "javascript": "install Node.js where every user can read it (e.g. apt-get install nodejs)",
    "bash": "install bash",
}
_TOO_BROAD = frozenset({"/", "/usr", "/home", "/root", "/opt", "/var", "/etc", "/srv", "/tmp"})  # noqa: S108


@dataclass(frozen=True)
class Identity:
    """Whom a run runs as: a uid of its own when the executor is root, else the executor's."""

    uid: int
    gid: int
    dropped: bool

    def popen(self) -> dict[str, object]:
        """Arguments of `subprocess.Popen` that start a program as this identity."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.dropped else {}


@dataclass(frozen=True)
class Runtime:
    """A language that works here. `prefix` is bound besides /usr when the program is not under it."""

    language: Language
    path: str
    version: str
    prefix: str | None = None
    arguments: tuple[str, ...] = field(default=())

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
    for language in _NAMES:
        chosen = (configured or {}).get(language)
        candidates = [str(chosen)] if chosen else _candidates(language)
        runtimes = (probe(language, path, identity) for path in candidates)
        if runtime := next((r for r in runtimes if r), None):
            found[language] = runtime
    return found


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


def probe(language: Language, path: str, identity: Identity) -> Runtime | None:
    """Start `path` as `identity` and ask who it is. None when it does not start or answers oddly."""
    try:
        out = subprocess.run(  # type: ignore[call-overload]
            [path, *_PROBES[language]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_TIMEOUT_S,
            env={"PATH": PATH},
            cwd="/",
            check=True,
            **identity.popen(),
        ).stdout
        real, version, prefix = json.loads(out)
        real = os.path.realpath(str(real))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Runtime(language, real, str(version), _prefix(real, str(prefix)), _ARGUMENTS[language])


def _prefix(real: str, prefix: str) -> str | None:
    """The folder to bind besides the system's: none for /usr, the program alone if it has no home."""
    if real.startswith(("/usr/", "/bin/")):
        return None
    return prefix if prefix and prefix not in _TOO_BROAD and real.startswith(f"{prefix}/") else real
