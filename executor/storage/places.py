"""The rows of `storage_blobs`: content on its way in, here, or on its way out, and what all of it takes."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from executor.storage.blobs import new_blob
from executor.storage.errors import StorageDown, StorageFull
from executor.storage.holds import Holds
from executor.storage.rows import Hold, of_job
from executor.storage.tables import blobs, metadata, usage
from shared.clock import Clock
from shared.database import Database

ARRIVAL_S = 3600.0
"""How long a put may take before it is taken for dead, when nobody can see that its process is."""
_THE_ROW = usage.c.id == 1


class Places:
    """All methods may raise `SQLAlchemyError`. `max_bytes` 0: no quota."""

    def __init__(self, database: Database, holds: Holds, owner: str, clock: Clock, max_bytes: int) -> None:
        self._database = database
        self._holds = holds
        self._owner = owner
        self._clock = clock
        self._max_bytes = max_bytes

    async def open(self) -> None:
        await self._database.create(metadata)
        try:
            first = insert(usage).values(id=1, size_bytes=0)
            await self._database.write(lambda connection: connection.execute(first))
        except IntegrityError:
            pass  # there since an earlier start

    async def used_bytes(self) -> int:
        """What all blobs take, those on their way in and out included."""
        found = await self._database.read(
            lambda connection: connection.execute(select(usage.c.size_bytes).where(_THE_ROW)).scalar()
        )
        return int(found or 0)

    async def begin(self, cid: str, size_bytes: int) -> str:
        """A name for a blob that is about to arrive. Raises `StorageFull` when it goes over the quota."""
        name = new_blob(cid)
        arriving = {"name": name, "cid": cid, "size_bytes": size_bytes, "state": "arriving"}

        def work(connection: Connection) -> None:
            room = update(usage).where(_THE_ROW).values(size_bytes=usage.c.size_bytes + size_bytes)
            if self._max_bytes:
                room = room.where(usage.c.size_bytes <= self._max_bytes - size_bytes)
            if not connection.execute(room).rowcount:
                raise StorageFull("the quota of this host's storage is reached")
            row = {**arriving, "owner": self._owner, "changed_at": self._clock()}
            connection.execute(insert(blobs), row)

        await self._database.write(work)
        return name

    async def arrived(self, name: str, hold: Hold) -> bool:
        """The blob is here, and `hold` is on it. False when the job has a hold, or the content came first.

        Raises `JobUndone`, and `StorageDown` when the arrival took so long that it was given up.
        """
        here = select(blobs.c.name).where(blobs.c.cid == hold.cid, blobs.c.state == "here")
        coming = (blobs.c.name == name, blobs.c.state == "arriving")

        def work(connection: Connection) -> bool:
            if of_job(connection, hold.id) or connection.execute(here).first():
                return False
            arrived = {"state": "here", "changed_at": self._clock()}
            if not connection.execute(update(blobs).where(*coming).values(arrived)).rowcount:
                raise StorageDown("storing the content took too long; send it again")
            self._holds.add(connection, hold)
            return True

        return await self._holds.write(work)

    async def give_up(self, name: str) -> None:
        """A blob that did not arrive, or is not needed."""
        await self._give_up(blobs.c.name == name)

    async def give_up_dead(self, owners: Sequence[str]) -> None:
        """What dead processes were putting in place, and what takes too long."""
        if owners:
            await self._give_up(blobs.c.owner.in_(owners))
        await self._give_up(blobs.c.changed_at < self._clock() - ARRIVAL_S)

    async def leaving(self, limit: int) -> list[str]:
        """Blobs to be deleted, the first ones first."""
        rows = select(blobs.c.name).where(blobs.c.state == "leaving").order_by(blobs.c.changed_at)
        return await self._database.read(
            lambda connection: list(connection.execute(rows.limit(limit)).scalars())
        )

    async def left(self, name: str) -> None:
        """The blob is deleted. Idempotent: other executors may delete it too."""
        gone = (blobs.c.name == name, blobs.c.state == "leaving")

        def work(connection: Connection) -> None:
            row = select(blobs.c.size_bytes).where(*gone).with_for_update()
            size_bytes = connection.execute(row).scalar()
            if size_bytes is not None:
                connection.execute(delete(blobs).where(*gone))
                freed = usage.c.size_bytes - size_bytes
                connection.execute(update(usage).where(_THE_ROW).values(size_bytes=freed))

        await self._database.write(work)

    async def _give_up(self, which: object) -> None:
        left = {"state": "leaving", "changed_at": self._clock()}
        gone = update(blobs).where(blobs.c.state == "arriving", which).values(left)  # type: ignore[arg-type]
        await self._database.write(lambda connection: connection.execute(gone))
