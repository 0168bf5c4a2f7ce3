"""Taking over what the builder unpacked: nothing but plain files, folders and links that stay inside."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from executor.dependencies.errors import DependenciesTooLarge, DependencyInvalid

MOST_FILES = 50_000
_METADATA = ".dist-info"


def take_over(site: Path, most_bytes: int) -> int:
    """Make everything in `site` ours and readable by all; returns its size in bytes.

    The builder must be dead. Raises `DependenciesTooLarge`, or `DependencyInvalid` for what no wheel
    has to bring: devices, sockets, and links that lead outside.
    """
    size_bytes = count = 0
    for path in _walk(site):
        found = path.lstat()
        count, size_bytes = count + 1, size_bytes + found.st_size
        if count > MOST_FILES or size_bytes > most_bytes:
            raise too_large(most_bytes)
        if stat.S_ISLNK(found.st_mode):
            _check_link(path, site)
        elif not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
            raise DependencyInvalid("A dependency holds something that is neither file nor folder.")
        os.lchown(path, os.geteuid(), os.getegid())
        if not stat.S_ISLNK(found.st_mode):
            path.chmod(0o755 if stat.S_ISDIR(found.st_mode) or found.st_mode & stat.S_IXUSR else 0o644)
    return size_bytes


def size_of(folder: Path, most_bytes: int) -> int:
    """The size in bytes of a tree that is still being written; stops counting beyond `most_bytes`."""
    size_bytes = count = 0
    for path in _walk(folder):
        try:
            size_bytes += path.lstat().st_size
        except FileNotFoundError:
            continue
        count += 1
        if size_bytes > most_bytes or count > 2 * MOST_FILES:
            return most_bytes + 1
    return size_bytes


def resolved(site: Path) -> list[str]:
    """What is installed in `site`, as sorted `name==version`."""
    names = (path.name.removesuffix(_METADATA) for path in site.glob(f"*{_METADATA}"))
    pairs = (name.rpartition("-") for name in names)
    return sorted(f"{name.replace('_', '-').lower()}=={version}" for name, _, version in pairs)


def too_large(most_bytes: int) -> DependenciesTooLarge:
    return DependenciesTooLarge(
        f"The dependencies are more than a run may have: {most_bytes // 1024**2} MB, {MOST_FILES} files."
    )


def _walk(folder: Path) -> Iterator[Path]:
    """`folder` and everything below it, without following links; what vanishes meanwhile is left out."""
    yield folder
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(place, name)


def _check_link(path: Path, site: Path) -> None:
    inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(site))
    if path.readlink().is_absolute() or not inside:
        raise DependencyInvalid("A dependency holds a link that leads outside.")
