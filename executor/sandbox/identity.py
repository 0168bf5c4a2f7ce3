"""Whom runs and builds run as."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """Whom a run runs as: a uid of its own when the executor is root, else the executor's."""

    uid: int
    gid: int
    dropped: bool

    def popen(self) -> dict[str, object]:
        """Arguments of `subprocess.Popen` that start a program as this identity."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.dropped else {}
