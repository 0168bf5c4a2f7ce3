"""What the size of a run (`shared.jobs.MEMORY_MB`) changes about it."""

from dataclasses import replace
from functools import cache

from executor.sandbox.limits import LIMITS, MIB, Limits
from executor.sandbox.runtimes import Runtime
from shared.jobs import DEFAULT_SIZE, MEMORY_MB, Size

_DEFAULT_BYTES = MEMORY_MB[DEFAULT_SIZE] * MIB
_HEAP = "--max-old-space-size="


@cache
def limits_of(size: Size) -> Limits:
    return replace(LIMITS, memory_bytes=MEMORY_MB[size] * MIB)


def data_bytes(runtime: Runtime, limits: Limits) -> int:
    """RLIMIT_DATA: what the runtime reserves and never touches, and the memory of the run."""
    return runtime.data_bytes - _DEFAULT_BYTES + limits.memory_bytes


def words_of(runtime: Runtime, limits: Limits) -> list[str]:
    """The runtime's program and arguments, with node's heap in proportion to the memory."""
    return [runtime.path, *(_scaled(word, limits) for word in runtime.arguments)]


def _scaled(word: str, limits: Limits) -> str:
    if not word.startswith(_HEAP):
        return word
    return f"{_HEAP}{int(word.removeprefix(_HEAP)) * limits.memory_bytes // _DEFAULT_BYTES}"
