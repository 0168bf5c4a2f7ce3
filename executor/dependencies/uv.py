"""uv, the installer: what it is told, and what its complaints mean."""

import re
from collections.abc import Iterable
from pathlib import Path

from executor.dependencies.errors import (
    DependencyBuildFailed,
    DependencyNotFound,
    IndexUnavailable,
    Refusal,
)

REQUEST_TIMEOUT_S = 10
MESSAGE_CHARACTERS = 400
# Wheels only, so that nothing of a package is executed; its own settings files are not read.
_OPTIONS = (
    "--only-binary=:all:",
    "--no-sources",
    "--no-config",
    "--no-python-downloads",
    "--no-compile-bytecode",
    "--link-mode=copy",
    "--keyring-provider=disabled",
    "--no-progress",
    "--color=never",
)
ENVIRONMENT = {
    "UV_HTTP_TIMEOUT": str(REQUEST_TIMEOUT_S),
    "UV_HTTP_RETRIES": "1",
    "UV_CONCURRENT_DOWNLOADS": "8",
}

_ADDRESS = re.compile(r"\S+://\S+")
_NETWORK = (
    "error sending request",
    "Failed to fetch",
    "HTTP status",
    "Request failed",
    "dns error",
    "operation timed out",
)
_UNSOLVABLE = ("No solution found", "Failed to resolve dependencies")


def find_uv() -> Path | None:
    """The program of the `uv` package, or None."""
    try:
        from uv import find_uv_bin

        return Path(find_uv_bin())
    except (ImportError, OSError):
        return None


def install_command(uv: str, python: str, target: str, cache: str, requirements: Iterable[str]) -> list[str]:
    """Resolve and unpack `requirements` (normalised: none is an option or a path) into `target`."""
    where = ["--python", python, "--target", target, "--cache-dir", cache]
    return [uv, "pip", "install", *_OPTIONS, *where, "--", *requirements]


def refusal(said: str) -> Refusal:
    """What uv's error output `said` amounts to. No address of the index is repeated to a client."""
    causes = [line.split(": ", 1)[1] for line in said.splitlines() if re.match(r"\s*(error|cause): ", line)]
    told = _ADDRESS.sub("(an address)", " ".join(causes))[:MESSAGE_CHARACTERS]
    if any(words in said for words in _UNSOLVABLE):
        return DependencyNotFound(f"The dependencies cannot be had as wheels: {told}")
    if any(words in said for words in _NETWORK):
        return IndexUnavailable("The package index does not answer; nothing was charged.", retry_after_s=30)
    return DependencyBuildFailed(f"The dependencies could not be installed: {told or 'uv gave no reason'}")
