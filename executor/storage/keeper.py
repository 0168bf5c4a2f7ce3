"""Content and the hold on it, brought together in one commit."""

from dataclasses import replace

from executor.storage.blobs import Blobs
from executor.storage.errors import StorageDown
from executor.storage.holds import Holds
from executor.storage.places import Places
from executor.storage.rows import Hold
from executor.storage.staging import Staged

MOST_ATTEMPTS = 5
"""Each time the same content came from elsewhere, and had left again before we looked."""


class Keeper:
    """Puts whole content in its place. Raises `StorageFull`, `StorageDown` and `JobUndone`."""

    def __init__(self, blobs: Blobs, holds: Holds, places: Places) -> None:
        self._blobs = blobs
        self._holds = holds
        self._places = places

    async def keep(self, staged: Staged, hold: Hold) -> Hold:
        """Keep `staged` for `hold` (whose content it fills in). Returns the hold there is in the end."""
        dag = staged.dag
        hold = replace(hold, cid=dag.cid, size_bytes=dag.size_bytes, sha256=dag.sha256)
        return await self._holds.join(hold) or await self._bring(staged, hold)

    async def _bring(self, staged: Staged, hold: Hold) -> Hold:
        name = await self._places.begin(hold.cid, hold.size_bytes)
        try:
            await self._blobs.put(name, staged)
            return await self._settle(name, hold)
        except BaseException:
            await self._places.give_up(name)
            raise

    async def _settle(self, name: str, hold: Hold) -> Hold:
        for _ in range(MOST_ATTEMPTS):
            if await self._places.arrived(name, hold):
                return hold
            if kept := await self._holds.join(hold):
                await self._places.give_up(name)
                return kept
        raise StorageDown("the same content comes and goes too fast; send it again")
