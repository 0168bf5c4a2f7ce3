"""Reading the store's tables, inside a transaction."""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, exists, or_, select

from executor.storage.errors import Expired, NotStored
from executor.storage.tables import blobs, holds
from shared.errors import JobUndone


@dataclass(frozen=True)
class Hold:
    """A claim on content. `expires_at` is in Unix seconds, None for what is kept for good."""

    id: str
    state: Literal["uploaded", "held"]
    cid: str
    size_bytes: int
    sha256: str
    name: str
    content_type: str
    permanent: bool
    expires_at: float | None


@dataclass(frozen=True)
class Found:
    """Content that can be read: the first one's name for it, and the time of whoever keeps it longest."""

    blob: str
    cid: str
    size_bytes: int
    name: str
    content_type: str
    permanent: bool
    expires_at: float | None


def lock_blob(connection: Connection, cid: str) -> str | None:
    """The blob of `cid` that is here. SQLite needs no lock: it has one writer at a time."""
    here = select(blobs.c.name).where(blobs.c.cid == cid, blobs.c.state == "here").with_for_update()
    name: str | None = connection.execute(here).scalar()
    return name


def of_job(connection: Connection, job_id: str) -> Hold | None:
    """The hold that the job has or had. Raises `JobUndone`."""
    found = connection.execute(select(holds).where(holds.c.id == job_id)).first()
    if found is not None and found.state == "undone":
        raise JobUndone
    return None if found is None else _hold(found)


def upload_of(connection: Connection, upload_id: str, now: float) -> Hold | None:
    """An upload that has not expired, locked."""
    upload = (holds.c.id == upload_id, holds.c.state == "uploaded", holds.c.expires_at > now)
    found = connection.execute(select(holds).where(*upload).with_for_update()).first()
    return None if found is None else _hold(found)


def _hold(row: Row[Any]) -> Hold:
    return Hold(**{name: value for name, value in row._mapping.items() if name != "changed_at"})


def find(connection: Connection, cid: str, now: float) -> Found:
    """The content as it can be read now. Raises `Expired` and `NotStored`."""
    bought = select(holds).where(holds.c.cid == cid, holds.c.state == "held")
    live = bought.where(or_(holds.c.permanent, holds.c.expires_at > now))
    here = select(blobs.c.name).where(blobs.c.cid == cid, blobs.c.state == "here")
    first = connection.execute(live.order_by(holds.c.changed_at, holds.c.id).limit(1)).first()
    blob = connection.execute(here).scalar()
    if first is None or blob is None:
        ended = or_(holds.c.state == "expired", (holds.c.state == "held") & (holds.c.expires_at <= now))
        if connection.execute(select(exists().where(holds.c.cid == cid, ended))).scalar():
            raise Expired(f"the content {cid} has expired: it was not kept for good")
        raise NotStored(f"there is no content {cid} here")
    longest = live.order_by(holds.c.permanent.desc(), holds.c.expires_at.desc()).limit(1)
    last = connection.execute(longest).one()
    return Found(blob, cid, first.size_bytes, first.name, first.content_type, last.permanent, last.expires_at)
