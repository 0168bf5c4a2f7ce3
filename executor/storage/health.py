"""Whether the place of the content works, and how much room there is."""

import asyncio
from dataclasses import dataclass

from executor.storage.blobs import Blobs
from executor.storage.errors import StorageDown
from executor.storage.places import Places
from executor.storage.staging import PIECE_BYTES

LOOK_S = 5.0


@dataclass(frozen=True)
class Health:
    """What a look said. `free_bytes` None: nobody knows how much room there is."""

    reason: str = ""
    free_bytes: int | None = None

    @property
    def is_full(self) -> bool:
        return self.free_bytes is not None and self.free_bytes < PIECE_BYTES


async def look(blobs: Blobs, places: Places, max_bytes: int) -> Health:
    """`max_bytes` is the quota, 0 for none. Raises `SQLAlchemyError`."""
    try:
        async with asyncio.timeout(LOOK_S):
            free_bytes = await blobs.free_bytes()
    except (StorageDown, TimeoutError):
        return Health(f"{blobs.shown} does not answer")
    if max_bytes:
        left = max(0, max_bytes - await places.used_bytes())
        free_bytes = left if free_bytes is None else min(left, free_bytes)
    return Health("", free_bytes)
