"""Who keeps content until when, and what may therefore be deleted.

A hold and the content under it appear in one transaction; the content of the last hold that ends is marked
`leaving` in that same one. Both lock the blob's row first and look at the holds afterwards, so that a new
hold either finds the content before it leaves, or brings it again as another blob. Only what is `leaving` is
ever deleted, and it never comes back.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TypeVar

from sqlalchemy import Connection, delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from executor.storage.errors import NoSuchUpload, NotStored
from executor.storage.rows import Found, Hold, find, lock_blob, of_job, upload_of
from executor.storage.tables import blobs, holds
from shared.clock import Clock
from shared.database import Database
from shared.errors import Conflict

T = TypeVar("T")
_ATTEMPTS = 3
"""Two transactions that insert the same row: the second one finds it on its next attempt."""
_ACTIVE = ("uploaded", "held")


class Holds:
    """The rows of `storage_holds`. All methods may raise `SQLAlchemyError`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def write(self, work: Callable[[Connection], T]) -> T:
        """`work` in a transaction, again when another one inserted the same row first."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return await self._database.write(work)
            except IntegrityError:
                continue
        return await self._database.write(work)

    async def of_job(self, job_id: str) -> Hold | None:
        """What the job keeps already. Raises `JobUndone`."""
        return await self._database.read(lambda connection: of_job(connection, job_id))

    async def join(self, hold: Hold) -> Hold | None:
        """Keep content that is here already; None when it is not. A job has one hold: the first one counts.

        Raises `JobUndone`.
        """

        def work(connection: Connection) -> Hold | None:
            if known := of_job(connection, hold.id):
                return known
            if lock_blob(connection, hold.cid) is None:
                return None
            self.add(connection, hold)
            return hold

        return await self.write(work)

    def add(self, connection: Connection, hold: Hold) -> None:
        """In a transaction that has locked the content's blob, or makes it `here`."""
        connection.execute(insert(holds), {**asdict(hold), "changed_at": self._clock()})

    async def commit(self, upload_id: str, hold: Hold) -> Hold:
        """Make an upload the job's `hold`, which gets its content from it. The upload is used up.

        Raises `NoSuchUpload` and `JobUndone`.
        """

        def work(connection: Connection) -> Hold:
            if known := of_job(connection, hold.id):
                return known
            upload = upload_of(connection, upload_id, self._clock())
            if upload is None:
                raise _no_such_upload()
            connection.execute(delete(holds).where(holds.c.id == upload_id))
            kept = replace(hold, cid=upload.cid, size_bytes=upload.size_bytes, sha256=upload.sha256)
            self.add(connection, kept)
            return kept

        return await self.write(work)

    async def upload(self, upload_id: str) -> Hold:
        """Raises `NoSuchUpload`."""
        found = await self._database.read(lambda connection: upload_of(connection, upload_id, self._clock()))
        if found is None:
            raise _no_such_upload()
        return found

    async def drop_upload(self, upload_id: str) -> None:
        """One that is not there is no error; the hold of a job is none."""

        def work(connection: Connection) -> None:
            if found := upload_of(connection, upload_id, 0):
                connection.execute(delete(holds).where(holds.c.id == upload_id))
                self._let_go(connection, [found.cid])

        await self.write(work)

    async def undo(self, job_id: str) -> None:
        """End the job's hold, and keep it from ever getting one. Idempotent."""
        now = self._clock()
        ended = {"state": "undone", "changed_at": now, "name": "", "expires_at": None}

        def work(connection: Connection) -> None:
            found = connection.execute(select(holds).where(holds.c.id == job_id).with_for_update()).first()
            if found is None:
                nothing = {"cid": "", "size_bytes": 0, "sha256": "", "content_type": "", "permanent": False}
                connection.execute(insert(holds), {"id": job_id, **nothing, **ended})
            elif found.state == "uploaded":
                raise Conflict("this is the id of an upload and of no job", code="job_id_conflict")
            else:
                connection.execute(update(holds).where(holds.c.id == job_id).values(ended))
                self._let_go(connection, [found.cid])

        await self.write(work)

    async def find(self, cid: str) -> Found:
        """Raises `Expired` when somebody kept it once, else `NotStored`."""
        return await self._database.read(lambda connection: find(connection, cid, self._clock()))

    async def blob_of(self, cid: str) -> str:
        """The blob that holds it now. Raises `NotStored`."""
        here = select(blobs.c.name).where(blobs.c.cid == cid, blobs.c.state == "here")
        found = await self._database.read(lambda connection: connection.execute(here).scalar())
        if found is None:
            raise NotStored(f"there is no content {cid} here")
        return str(found)

    async def expire(self, limit: int) -> int:
        """End holds whose time is over, `limit` at the most. Returns how many."""
        now = self._clock()
        rows = (
            select(holds.c.id, holds.c.cid)
            .where(holds.c.state.in_(_ACTIVE), holds.c.expires_at <= now)
            .limit(limit)
        )

        def work(connection: Connection) -> int:
            found = connection.execute(rows).all()
            ids = [row.id for row in found]
            # The states are asked for again: since they were read a job may have been undone.
            connection.execute(delete(holds).where(holds.c.id.in_(ids), holds.c.state == "uploaded"))
            ended = {"state": "expired", "changed_at": now}
            over = update(holds).where(holds.c.id.in_(ids), holds.c.state == "held")
            connection.execute(over.values(ended))
            self._let_go(connection, sorted({row.cid for row in found}))
            return len(found)

        return await self.write(work)

    async def forget(self, before: float, limit: int) -> None:
        """Remove what is remembered of holds that ended before this time."""
        old = select(holds.c.id).where(holds.c.state.in_(("expired", "undone")), holds.c.changed_at < before)
        removed = delete(holds).where(holds.c.id.in_(old.limit(limit)))
        await self.write(lambda connection: connection.execute(removed))

    def _let_go(self, connection: Connection, cids: Sequence[str]) -> None:
        """Content that nobody keeps any more is `leaving`. `cids` are sorted, as locks must be."""
        for cid in cids:
            if (blob := lock_blob(connection, cid)) is None:
                continue
            # A statement of its own: it sees a hold that was committed while we waited for the lock.
            kept = select(exists().where(holds.c.cid == cid, holds.c.state.in_(_ACTIVE)))
            if not connection.execute(kept).scalar():
                left = {"state": "leaving", "changed_at": self._clock()}
                connection.execute(update(blobs).where(blobs.c.name == blob).values(left))


def _no_such_upload() -> NoSuchUpload:
    return NoSuchUpload("there is no such upload: it expired, or was stored already; upload it again")
