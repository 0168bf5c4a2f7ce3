"""The store: content comes in whole or not at all, is kept under its CID, and goes when nobody keeps it."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from sqlalchemy.exc import SQLAlchemyError

from executor.results import open_database
from executor.storage.blobs import choose_blobs
from executor.storage.content import Content
from executor.storage.errors import ContentTooLarge, StorageDown, StorageFull
from executor.storage.fetch import Fetcher, FetchOptions
from executor.storage.health import Health, look
from executor.storage.holds import Holds
from executor.storage.keeper import Keeper
from executor.storage.options import StorageOptions
from executor.storage.places import Places
from executor.storage.rows import Found, Hold
from executor.storage.staging import Staged, Staging
from executor.storage.sweeper import SWEEP_EVERY_S, Sweeper
from shared.clock import Clock, system_clock
from shared.errors import GalaksioError, StartupError, Unavailable
from shared.ipfs import Block, Codec, load_blocks, parse_cid
from shared.logs import get_logger
from shared.store import UNKNOWN_TYPE, StoreRequest, UrlInfo, type_of_name

log = get_logger(__name__)

FETCH_TIMEOUT_S = 60.0
BUSY_S = 2
"""When to come again while too much content is being received."""


class Storage:
    """All of it. Methods raise the errors of `executor.storage.errors` and `JobUndone`."""

    def __init__(
        self, options: StorageOptions, clock: Clock = system_clock, fetcher: Fetcher | None = None
    ) -> None:
        self.options = options
        self.health = Health()
        self.clock = clock
        self._blobs, folder = choose_blobs(options)
        owner = uuid.uuid4().hex
        self._staging = Staging(folder, owner, options.reserve_bytes)
        self._database = open_database(options.database_url, options.home, "storage.sqlite")
        self._holds = Holds(self._database, clock)
        self._places = Places(self._database, self._holds, owner, clock, options.max_bytes)
        self._keeper = Keeper(self._blobs, self._holds, self._places)
        self._sweeper = Sweeper(self._holds, self._places, self._blobs, clock)
        self._fetcher = fetcher or Fetcher(FetchOptions(options.max_upload_bytes, FETCH_TIMEOUT_S))
        self._receiving = 0
        self._closing = AsyncExitStack()

    async def open(self) -> None:
        """Take up the work, after whoever was killed. Raises `StartupError` when that is not possible."""
        try:
            await self._blobs.open()
            self._closing.push_async_callback(self._database.close)
            self._closing.callback(self._staging.close)
            dead = await asyncio.to_thread(self._staging.open)
            await self._places.open()
            await self._places.give_up_dead(dead)
            await self._closing.enter_async_context(self._fetcher)
        except OSError as exc:
            raise StartupError(f"The store at {self._blobs.shown} cannot be used: {exc.strerror}.") from None
        await self.look()
        chores = asyncio.create_task(self._do_chores(), name="storage-chores")
        self._closing.push_async_callback(_ended, chores)

    async def close(self) -> None:
        await self._closing.aclose()

    async def upload(self, content: AsyncIterable[bytes], declared_bytes: int = 0) -> Hold:
        """Receive content that waits under the id of the hold until `store` names it, or it expires.

        `declared_bytes` is what the sender says is coming: too much of it is refused at once.
        """
        expires_at = self.clock() + self.options.upload_ttl_s
        hold = Hold(uuid.uuid4().hex, "uploaded", "", 0, "", "", UNKNOWN_TYPE, False, expires_at)
        if self.health.free_bytes is not None and declared_bytes > self.health.free_bytes:
            raise StorageFull
        async with self._slot(), self._received(content, None) as staged:
            return await self._keeper.keep(staged, hold)

    async def drop_upload(self, upload_id: str) -> None:
        """Idempotent."""
        await self._holds.drop_upload(upload_id)
        await self._delete_leaving()

    async def store(self, job_id: str, request: StoreRequest) -> Hold:
        """Keep content for a job, once: asked again it is the same hold."""
        if known := await self._holds.of_job(job_id):
            return known
        hold = self._hold(job_id, request)
        if request.upload is not None:
            upload = await self._upload(request.upload, request)
            hold = replace(hold, name=request.filename or "", content_type=_type_of_upload(request))
            return await self._holds.commit(upload.id, hold)
        async with self._coming(request) as (staged, name, content_type):
            return await self._keeper.keep(staged, replace(hold, name=name, content_type=content_type))

    @asynccontextmanager
    async def content_of(self, job_id: str, request: StoreRequest) -> AsyncIterator[Content]:
        """A job's content as a file, for as long as the block lasts; an upload stays what it is.

        Raises the errors of fetching a URL, too.
        """
        known = await self._holds.of_job(job_id)
        if request.upload is None:
            coming = self._coming(request)
        else:
            # A job that was begun here before, and is given to somebody else now, has used its upload up.
            coming = self._copied(known or await self._upload(request.upload, request), request)
        async with coming as (staged, name, content_type):
            dag = staged.dag
            yield Content(staged.path, dag.size_bytes, dag.sha256, dag.cid, name, content_type)

    async def undo(self, job_id: str) -> None:
        """The job keeps nothing, now and in future. Idempotent."""
        await self._holds.undo(job_id)
        await self._delete_leaving()

    async def find(self, cid: str) -> Found:
        return await self._holds.find(cid)

    def read(self, found: Found, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes `start` to `end` (exclusive) of the content."""
        return self._blobs.read(found.blob, start, end)

    async def nodes(self, found: Found) -> tuple[Block, ...]:
        """The nodes of the content's tree, checked; none for content of one block."""
        root = parse_cid(found.cid)
        if root.codec is Codec.RAW:
            return ()
        try:
            return await asyncio.to_thread(load_blocks, await self._blobs.nodes(found.blob), root)
        except ValueError as exc:
            log.error("nodes_damaged", blob=found.blob, reason=str(exc))
            raise StorageDown("the tree of this content is damaged") from None

    async def measure(self, url: str) -> UrlInfo:
        """What a customer's URL says of itself, without its content."""
        measured = await self._fetcher.measure(url)
        return UrlInfo(
            size_bytes=measured.size_bytes, content_type=measured.content_type, filename=measured.file_name
        )

    async def look(self) -> None:
        """See whether the place works, and how much room there is."""
        self.health = await look(self._blobs, self._places, self.options.max_bytes)

    async def sweep(self) -> None:
        await self._sweeper.sweep()

    async def _upload(self, upload_id: str, request: StoreRequest) -> Hold:
        upload = await self._holds.upload(upload_id)
        _check_size(upload.size_bytes, request.max_bytes)
        return upload

    @asynccontextmanager
    async def _copied(self, hold: Hold, request: StoreRequest) -> AsyncIterator[tuple[Staged, str, str]]:
        """What is kept under `hold`, in a file of its own: the place may be S3, and may let go of it."""
        content = self._blobs.read(await self._holds.blob_of(hold.cid), 0, hold.size_bytes)
        async with self._received(content, None) as staged:
            yield staged, request.filename or hold.name, _type_of_upload(request)

    @asynccontextmanager
    async def _coming(self, request: StoreRequest) -> AsyncIterator[tuple[Staged, str, str]]:
        """What is in the request, or at its URL: received whole, its name and its type."""
        if request.url is None:
            data = await asyncio.to_thread(request.content)
            async with self._received(_one(data), request.max_bytes) as staged:
                yield staged, request.filename or "", request.type_of_data()
            return
        async with AsyncExitStack() as stack:
            async with self._slot(), self._fetcher.open(request.url, max_bytes=request.max_bytes) as got:
                receiving = self._received(got.chunks(), request.max_bytes)
                staged = await stack.enter_async_context(receiving)
            content_type = request.content_type or got.content_type
            yield staged, request.filename or got.file_name or "", content_type

    def _hold(self, job_id: str, request: StoreRequest) -> Hold:
        """A job's hold, without its content yet. The time begins now."""
        expires_at = None if request.permanent else self.clock() + request.ttl_s
        return Hold(job_id, "held", "", 0, "", "", UNKNOWN_TYPE, request.permanent, expires_at)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """For content that takes its time to come."""
        if self._receiving >= self.options.uploads:
            raise Unavailable(
                "too much content is coming in; send it again soon", code="uploads_busy", retry_after_s=BUSY_S
            )
        self._receiving += 1
        try:
            yield
        finally:
            self._receiving -= 1

    @asynccontextmanager
    async def _received(self, content: AsyncIterable[bytes], most: int | None) -> AsyncIterator[Staged]:
        limit = self.options.max_upload_bytes
        try:
            async with self._staging.stage(content, limit if most is None else min(limit, most)) as staged:
                yield staged
        except StorageFull:
            await self.look()
            raise

    async def _delete_leaving(self) -> None:
        """At once, as far as that works; the next sweep does the rest."""
        with contextlib.suppress(StorageDown, SQLAlchemyError, OSError):
            await self._sweeper.delete_leaving()

    async def _do_chores(self) -> None:
        while True:
            for chore in (self.sweep, self.look):
                try:
                    await chore()
                except (GalaksioError, SQLAlchemyError, OSError) as exc:
                    log.error("storage_chore_failed", error=str(exc))
            await asyncio.sleep(SWEEP_EVERY_S)


def _check_size(size_bytes: int, most: int | None) -> None:
    if most is not None and size_bytes > most:
        raise ContentTooLarge(f"the content is {size_bytes} bytes, over the {most} that are allowed")


def _type_of_upload(request: StoreRequest) -> str:
    return request.content_type or type_of_name(request.filename) or UNKNOWN_TYPE


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data
