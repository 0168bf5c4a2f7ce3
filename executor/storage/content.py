"""Content on its way to somebody else: whole on this machine's disk, and what it is."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Content:
    """`path` is a file that is gone as soon as nobody needs it; `name` is empty where it has none."""

    path: Path
    size_bytes: int
    sha256: str
    cid: str
    name: str
    content_type: str
