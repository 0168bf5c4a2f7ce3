"""Deletes what nobody keeps any more."""

from executor.storage.blobs import Blobs
from executor.storage.holds import Holds
from executor.storage.places import Places
from shared.clock import Clock

SWEEP_EVERY_S = 60.0
BATCH = 200
MOST_BATCHES = 50
"""In one sweep; the rest waits for the next one."""
REMEMBER_S = 30 * 86_400
"""How long a download of expired content is answered 410, and an undone job stays undone."""


class Sweeper:
    """Any number of them may run at once, on one database and one place. Raises `StorageDown`."""

    def __init__(self, holds: Holds, places: Places, blobs: Blobs, clock: Clock) -> None:
        self._holds = holds
        self._places = places
        self._blobs = blobs
        self._clock = clock

    async def sweep(self) -> None:
        """End holds whose time is over, delete what is not held any more, forget what is long over."""
        for _ in range(MOST_BATCHES):
            if await self._holds.expire(BATCH) < BATCH:
                break
        await self._places.give_up_dead([])
        for _ in range(MOST_BATCHES):
            if await self.delete_leaving() < BATCH:
                break
        await self._holds.forget(self._clock() - REMEMBER_S, BATCH * MOST_BATCHES)

    async def delete_leaving(self) -> int:
        """Delete up to `BATCH` blobs that nobody keeps. Returns how many."""
        names = await self._places.leaving(BATCH)
        for name in names:
            await self._blobs.delete(name)
            await self._places.left(name)
        return len(names)
