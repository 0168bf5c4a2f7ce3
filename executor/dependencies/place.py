"""Where layers are kept: in the data folder, or beside it when runs have uids that cannot get there."""

import hashlib
import os
from pathlib import Path

from executor.sandbox import reach
from executor.sandbox.identity import Identity


def choose_place(chosen: Path | None, home: Path, runs: Identity) -> Path:
    """The folder for layers: the `chosen` one, else one for the data folder `home`. Makes nothing.

    Raises `LookupError` when it could not be made, or runs could not get there.
    """
    place = chosen or _place_of(home, runs)
    there = _existing(place)
    if not os.access(there, os.W_OK | os.X_OK):
        raise LookupError(f"{place} cannot be written: set EXECUTOR_LAYERS to a folder that can")
    if not reach.can_reach(there, runs, os.X_OK):
        raise LookupError(f"{place} is closed to the users of runs: set EXECUTOR_LAYERS to an open folder")
    return place


def _place_of(home: Path, runs: Identity) -> Path:
    if reach.can_reach(_existing(home), runs, os.X_OK):
        return home / "layers"
    return reach.PLACE / f"layers-{hashlib.sha256(str(home).encode()).hexdigest()[:16]}"


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
