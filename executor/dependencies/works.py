"""What building layers takes, found once: the installer, the index, the folder, the Python's ABI."""

import os
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from executor.dependencies.abi import abi_of
from executor.dependencies.builder import Builder
from executor.dependencies.index import find_index
from executor.dependencies.place import choose_place
from executor.dependencies.store import Store
from executor.dependencies.uv import find_uv
from executor.sandbox.bench import Bench
from executor.sandbox.reach import reachable_program


@dataclass(frozen=True)
class LayerOptions:
    """`folder` None is found by `choose_place`; `ttl_s` is how long unexact wishes stay resolved."""

    home: Path
    on: bool = True
    folder: Path | None = None
    index_url: str | None = None
    most_bytes: int = 512 * 1024**2
    total_bytes: int = 4 * 1024**3
    ttl_s: int = 86_400
    builds: int = 2
    timeout_s: float = 30.0


@dataclass(frozen=True)
class Works:
    """All that was found. `abi` and `index` are what a layer's key depends on besides the wish."""

    builder: Builder
    store: Store
    abi: str
    index: str


def find_works(options: LayerOptions, bench: Bench | None, closing: Event) -> Works:
    """Blocks. Raises `LookupError` or `OSError` with what is missing."""
    if not options.on:
        raise LookupError("EXECUTOR_DEPENDENCIES=off was set by hand")
    if bench is None:
        raise LookupError("they are built in the sandbox for its python, and one of both is missing")
    found = find_uv()
    if found is None:
        raise LookupError("uv is not installed: it is part of galaksio's dependencies")
    uv = reachable_program(found, bench.identity)
    if uv is None:
        raise LookupError(f"uv ({found}) cannot be started by the user of the builds")
    store = Store(choose_place(options.folder, options.home, bench.runs))
    index = find_index(options.index_url, os.environ, Path.home())
    builder = Builder(bench, uv, index, options.most_bytes, options.timeout_s, closing)
    return Works(builder, store, abi_of(bench), index.url or "")
