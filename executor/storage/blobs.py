"""Where whole content is kept: a folder or S3, behind one interface.

A blob is content at an address of its own, `<cid>.<generation>`: a late deletion by an executor that was
held up can never hit content that somebody stored again meanwhile.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from executor.storage.options import StorageOptions
from executor.storage.staging import Staged
from shared.errors import StartupError
from shared.ipfs import dump_blocks

READ_BYTES = 1024 * 1024
"""What is read at a time."""
STAGING = "staging"


class Blobs(Protocol):
    """All methods but `open` may raise `StorageDown`, those that write `StorageFull`."""

    shown: str
    """Where it is, without secrets."""

    async def open(self) -> None:
        """Raises `StartupError` when the place cannot be used at all."""

    async def put(self, name: str, staged: Staged) -> None:
        """Keep `staged` under the name of a new blob, with its nodes beside it; durable on return.

        Nobody sees a part of it: the content appears as a whole or not at all.
        """

    def read(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes `start` to `end` (exclusive), `READ_BYTES` at a time. Raises `StorageDown` when gone."""

    async def nodes(self, name: str) -> bytes:
        """The nodes of the content's tree, as `dump_blocks` wrote them."""

    async def delete(self, name: str) -> None:
        """Remove a blob and what was kept beside it. One that is not there is no error."""

    async def free_bytes(self) -> int | None:
        """How much more can be kept; None where nobody knows. Asks the place, so it tells that it works."""


def new_blob(cid: str) -> str:
    return f"{cid}.{uuid.uuid4().hex[:12]}"


def place_of(name: str) -> str:
    """The path of a blob: two levels of 1024 folders, by characters of the digest."""
    cid = name.partition(".")[0]
    return f"{cid[-5:-3]}/{cid[-3:-1]}/{name}"


def nodes_of(place: str) -> str:
    return f"{place}.nodes"


async def dumped_nodes(staged: Staged) -> bytes | None:
    """What to keep beside the content; None for content of one block, which is its own root."""
    return await asyncio.to_thread(dump_blocks, staged.dag.inner) if staged.dag.inner else None


def choose_blobs(options: StorageOptions) -> tuple[Blobs, Path]:
    """The place that STORAGE_URL names, and the folder for what is on its way there.

    Raises `StartupError` for a place that cannot be.
    """
    from executor.storage.folder import Folder
    from executor.storage.s3 import S3

    parts = urlsplit(options.url or str(options.home / "content"))
    if parts.scheme == "s3" and parts.netloc:
        return S3(parts.netloc, parts.path.strip("/"), options.s3), options.home / "content" / STAGING
    if parts.scheme in ("", "file") and parts.netloc in ("", "localhost") and parts.path:
        root = Path(unquote(parts.path)).expanduser().absolute()
        return Folder(root, options.reserve_bytes), root / STAGING
    raise StartupError("STORAGE_URL must be a folder, file:///folder or s3://bucket/prefix.")
