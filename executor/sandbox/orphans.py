"""Sandboxes that a killed executor left behind while they were being set up.

`--die-with-parent` takes a running sandbox down with the executor. In the first milliseconds, before bwrap
has armed it inside, the half-made init is left waiting for a monitor that is dead. Nothing of the snippet
has run in it, and nothing ever will, but it stays. An executor that starts ends those it finds.
"""

import contextlib
import os
import signal
from pathlib import Path

INIT = 1


def kill_orphans(parent: int = INIT) -> list[int]:
    """Kill every bwrap of ours whose parent is `parent`; returns their pids.

    To be called before the first run: a sandbox in use is a grandchild of its executor, and only that of
    a dead one falls to init.
    """
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    found = [pid for pid in pids if _is_orphan(pid, parent)]
    for pid in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return found


def _is_orphan(pid: int, parent: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    ours = len(words) > 2 and words[0].endswith(b"/bwrap") and words[1] == b"--args"
    return ours and int(fields[1]) == parent
