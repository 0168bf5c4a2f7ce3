"""A terminal as the reader of the documentation has it, in the project's folder and beside its services."""

import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import ROOT, Block
from tests.support.services import Stack

TIMEOUT_S = 100
PORTS = {"broker": 8080, "quote": 8081, "executor": 8082, "devnet": 8402}
"""What the documentation calls localhost:8080 is the broker of the test's own stack, and so on."""


class Terminal:
    """Runs blocks one after the other; what one exports or changes to, the next ones have.

    The folder is empty but for the project's `.venv` and what `beside` names of the project's folder.
    """

    def __init__(self, folder: Path, stack: Stack, *, beside: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.stack = stack
        self.state = folder / ".state"
        self.state.write_text("")
        (folder / ".venv").symlink_to(sys.prefix)
        for path in beside:
            (folder / Path(path).name).symlink_to(ROOT / path)

    def write(self, block: Block) -> None:
        (self.folder / block.name).write_text(self._here(block.text) + "\n")

    def run(self, block: Block) -> str:
        """What it printed. Raises `AssertionError` with all its output when it fails."""
        done = subprocess.run(
            ["bash", "-c", self._script(block)],
            cwd=self.folder,
            env={**self.stack.environment, "HOME": str(self.folder), "NO_PROXY": "*", "no_proxy": "*"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"exit {done.returncode}\n{block.text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _script(self, block: Block) -> str:
        text = self._here(block.text)
        if block.language == "python":
            (self.folder / ".block.py").write_text(text)
            text = ".venv/bin/python .block.py"
        keep = f"{{ export -p; declare -f; echo \"cd '$PWD'\"; }} > '{self.state}'"
        return f"set -euo pipefail\nsource '{self.state}'\nset -a\n{text}\nset +a\n{keep}\n"

    def _here(self, text: str) -> str:
        for name, port in PORTS.items():
            text = text.replace(f"localhost:{port}", self.stack.url(name).removeprefix("http://"))
        return text
