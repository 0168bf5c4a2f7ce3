"""How each language waits in a pooled sandbox: the command, and the file that does the waiting.

`{fd}` stands for the number of the descriptor on which the job will come.
"""

import importlib.util
import marshal
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from executor.sandbox.arguments import BOX
from executor.sandbox.limits import Limits
from executor.sandbox.runtimes import Runtime
from executor.sandbox.sizes import words_of
from shared.jobs import Language

FD = "{fd}"
_HERE = Path(__file__).parent
_PYTHON_FOLDER = f"/tmp/.loader-{FD}"  # noqa: S108 - the run's own; the loader removes it
# Not in /tmp: worker threads of node look for it too. /etc is read-only.
_NODE_FILE = f"/etc/.loader-{FD}.cjs"
# Reads the job, then becomes the shell that a direct start is. `read` fails at the end of the pipe.
_BASH = (
    '__fd=$1; shift; IFS= read -r -d "" -n 1 -u $__fd __w && [ "$__w" = j ] || exit 1; '
    'IFS= read -r -d "" -u $__fd __n; __a=(); '
    'while [ ${#__a[@]} -lt "$__n" ]; do IFS= read -r -d "" -u $__fd __w; __a+=("$__w"); done; '
    'while IFS= read -r -d "" -u $__fd __w; do export "$__w"; done; '
    'exec {__fd}<&-; exec "$@" "${__a[@]}"'
)


@dataclass(frozen=True)
class Loader:
    """`files` maps an absolute path inside to content; `environment` is set while it waits."""

    command: list[str]
    files: Mapping[str, bytes] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def at(self, fd: int) -> "Loader":
        """The same with the number filled in."""

        def fill(text: str) -> str:
            return text.replace(FD, str(fd))

        return Loader(
            [fill(word) for word in self.command],
            {fill(path): data for path, data in self.files.items()},
            {name: fill(value) for name, value in self.environment.items()},
        )


def loader_of(runtime: Runtime, limits: Limits) -> Loader:
    """The loader of a language. Blocks: it reads a file of ours."""
    words, code = words_of(runtime, limits), f"{BOX}/{runtime.code_name}"
    node = Loader([*words, "--require", _NODE_FILE, code], {_NODE_FILE: (_HERE / "loader.cjs").read_bytes()})
    loaders: dict[Language, Loader] = {
        "python": Loader(
            [*words, code],
            {f"{_PYTHON_FOLDER}/{name}": data for name, data in [_python_loader(runtime)]},
            {"PYTHONPATH": _PYTHON_FOLDER},
        ),
        "javascript": node,
        "typescript": node,
        "bash": Loader([*words, "-c", _BASH, "loader", FD, *words, code]),
    }
    return loaders[runtime.language]


def _python_loader(runtime: Runtime) -> tuple[str, bytes]:
    """Name and content; compiled, if the runtime reads what this Python compiles: same minor version."""
    source = (_HERE / "sitecustomize.py").read_bytes()
    if runtime.version.split(".")[:2] != platform.python_version().split(".")[:2]:
        return "sitecustomize.py", source
    code = compile(source, "sitecustomize.py", "exec", dont_inherit=True)
    return "sitecustomize.pyc", importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)
