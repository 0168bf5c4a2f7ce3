"""`SANDBOX=off`, set by hand: code runs as an ordinary child process. For a developer's own snippets.

Kept: wall clock, output limits, own session and folder, empty environment. Not kept: everything else.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox.accounting import Account, Usage
from executor.sandbox.channels import Channels
from executor.sandbox.errors import SandboxFailed


class NoAccount:
    """Nobody counts."""

    def joined(self) -> AbstractContextManager[None]:
        return nullcontext()

    def admit(self, _: object) -> None:
        """Nothing to admit to."""

    def begin(self) -> None:
        """Nothing to begin."""

    def over(self) -> bool:
        return False

    def close(self) -> Usage:
        return Usage(None, None, False)


@dataclass
class Bare:
    """One running process group in a folder of its own."""

    process: subprocess.Popen[bytes]
    folder: Path
    stdin: int
    stdout: int
    stderr: int
    monitor_pidfd: int
    box_fd: int
    started_s: float

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def finish(self, account: Account) -> Usage:
        self.process.wait()
        return account.close()

    def exit_code(self) -> int | None:
        """128+n for signal n, as in a sandbox; None when it died of our SIGKILL is told by `killed`."""
        code = self.process.returncode
        return 128 - code if code < 0 else code

    def discard(self) -> None:
        """Close everything of a run that nobody drove."""
        for fd in (self.stdin, self.stdout, self.stderr):
            os.close(fd)
        self.close()

    def close(self) -> None:
        os.close(self.monitor_pidfd)
        os.close(self.box_fd)
        shutil.rmtree(self.folder, ignore_errors=True)


def launch_bare(command: Sequence[str], files: Mapping[str, bytes], env: Mapping[str, str]) -> Bare:
    """Start `command` in a folder of its own that holds `files`. Blocks."""
    channels = Channels()
    folder = Path(tempfile.mkdtemp(prefix="galaksio-bare-"))
    try:
        (folder / "out").mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        stdin, stdout, stderr = channels.towards(), channels.back(), channels.back()
        process = subprocess.Popen(
            command,
            stdin=stdin.theirs,
            stdout=stdout.theirs,
            stderr=stderr.theirs,
            env={**env, "HOME": str(folder)},
            cwd=folder,
            start_new_session=True,
        )
        return Bare(
            process=process,
            folder=folder,
            stdin=channels.take(stdin.ours),
            stdout=channels.take(stdout.ours),
            stderr=channels.take(stderr.ours),
            monitor_pidfd=os.pidfd_open(process.pid),
            box_fd=os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
            started_s=time.monotonic(),
        )
    except OSError as exc:
        shutil.rmtree(folder, ignore_errors=True)
        raise SandboxFailed(f"The code could not be started: {exc}.") from None
    finally:
        channels.close()
