"""Programs and folders where the uid of a run can get to them.

As root each run has a uid of its own, and bwrap opens what it binds as that uid: whatever lies under a
folder that is closed to others (/root, a data folder of mode 0700) has to be kept elsewhere.
"""

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from executor.sandbox.identity import Identity

PLACE = Path("/var/cache/galaksio")
"""Where root keeps what runs must be able to reach and its own folders hide."""


def can_reach(path: Path, identity: Identity, wanted: int = os.R_OK | os.X_OK) -> bool:
    """Whether `identity` may pass all folders above `path` and has the `wanted` access to it."""
    if not identity.dropped:
        return os.access(path, wanted)
    try:
        real = path.resolve(strict=True)
        return all(_allows(place, identity, os.X_OK) for place in real.parents) and _allows(
            real, identity, wanted
        )
    except OSError:
        return False


def _allows(path: Path, identity: Identity, wanted: int) -> bool:
    found = path.stat()
    shift = 6 if found.st_uid == identity.uid else 3 if found.st_gid == identity.gid else 0
    return (found.st_mode >> shift) & wanted == wanted


def reachable_program(program: Path, identity: Identity) -> Path | None:
    """`program`, or a copy of it that `identity` can start. None when neither can be had. Blocks.

    A copy is kept under `PLACE` and used again until the program changes.
    """
    if can_reach(program, identity):
        return program
    try:
        found = program.stat()
        print_ = f"{program.resolve()} {found.st_size} {found.st_mtime_ns}"
        name = f"{program.name}-{hashlib.sha256(print_.encode()).hexdigest()[:16]}"
        copy = open_folder(PLACE / "programs") / name / program.name
        if not copy.exists():
            _publish_copy(program, copy)
    except OSError:
        return None
    return copy if can_reach(copy, identity) else None


def _publish_copy(program: Path, copy: Path) -> None:
    """Copy `program` to `copy`, whose folder appears complete or not at all."""
    made = Path(tempfile.mkdtemp(prefix=".new-", dir=copy.parent.parent))
    try:
        shutil.copyfile(program, made / program.name)
        (made / program.name).chmod(0o755)
        made.chmod(0o755)
        with contextlib.suppress(FileExistsError):
            made.rename(copy.parent)
    except OSError:
        if not copy.exists():  # else another executor was faster
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def open_folder(path: Path) -> Path:
    """Make `path`, ours alone to write and everybody's to pass. Raises `OSError` if it is another's."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o755)
    for place in (path, path.parent):
        found = place.stat()
        open_to_all = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
        if found.st_uid not in (0, os.geteuid()) or open_to_all:
            raise PermissionError(f"{place} can be written by others")
    return path
