"""What a layer of packages is built with: parts of the sandbox, without a run in it."""

from dataclasses import dataclass
from pathlib import Path

from executor.sandbox.identity import Identity
from executor.sandbox.runtimes import Runtime


@dataclass(frozen=True)
class Bench:
    """`identity` is the builder's own; `runs` is one of those that will read the layer."""

    bwrap: Path
    seccomp: bytes
    python: Runtime
    identity: Identity
    runs: Identity
