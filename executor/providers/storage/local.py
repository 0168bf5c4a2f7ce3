"""Keeps content on this host: in a folder, or in S3."""

from typing import cast

from fastapi import APIRouter

from executor.files import files_path, files_router
from executor.providers.base import Context, ProviderStatus, Task
from executor.storage.errors import RETRY_FULL_S
from executor.storage.storage import Storage
from shared.clock import iso
from shared.store import StoreRequest, StoreResult


class Local:
    """Provider `local`: content by its CID, to be had at `GET /files/{cid}`."""

    name = "local"
    kind = "storage"

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def open(self) -> None:
        await self._storage.open()

    async def close(self) -> None:
        await self._storage.close()

    def status(self) -> ProviderStatus:
        """`accepting` is false when there is no room."""
        health = self._storage.health
        accepting = not health.reason and not health.is_full
        return ProviderStatus(
            name=self.name,
            kind=self.kind,
            status="unavailable" if health.reason else "available",
            reason=health.reason or ("there is no room" if health.is_full else ""),
            sellable=not health.reason,
            accepting=accepting,
            retry_after_s=None if accepting else RETRY_FULL_S,
            free_bytes=health.free_bytes,
        )

    async def execute(self, task: Task) -> StoreResult:
        """Raises the errors of the store, of fetching a URL, and `JobUndone`."""
        hold = await self._storage.store(task.job_id, cast(StoreRequest, task.request))
        return StoreResult(
            cid=hold.cid,
            url=files_path(hold.cid),
            provider=self.name,
            size=hold.size_bytes,
            permanent=hold.permanent,
            expires_at=None if hold.expires_at is None else iso(hold.expires_at),
            sha256=hold.sha256,
            content_type=hold.content_type,
            filename=hold.name or None,
        )

    async def undo(self, job_id: str) -> None:
        await self._storage.undo(job_id)

    def routes(self) -> APIRouter:
        return files_router(self._storage)


def provider(context: Context) -> Local:
    return Local(context.storage)
