"""Which wheels fit a Python: its version, its ABI and its platform, as it says itself."""

import subprocess

from executor.sandbox.bench import Bench
from executor.sandbox.runtimes import answer_of

_PROBE = (
    "import platform,sysconfig;"
    "print(platform.python_version(),sysconfig.get_config_var('SOABI'),sysconfig.get_platform())"
)


def abi_of(bench: Bench) -> str:
    """E.g. `3.11.2 cpython-311-x86_64-linux-gnu linux-x86_64`. Blocks. Raises `LookupError`."""
    try:
        said = answer_of([bench.python.path, "-I", "-c", _PROBE], bench.runs)
    except (OSError, subprocess.SubprocessError):
        raise LookupError("the python of the runs does not say which wheels fit it") from None
    return said.decode().strip()
