"""Content in S3, or anything that speaks its protocol.

Content is received into a file of this machine first, because its address is known only at its end. One put
then takes it there: S3 shows an object once all its parts have arrived, so no temporary key, no copy and no
rename is needed, and an upload that is cut off never reaches S3 at all. Parts of a put that a kill -9 ended
are seen by nobody; a lifecycle rule of the bucket (abort incomplete multipart uploads) removes them.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from executor.storage.blobs import READ_BYTES, dumped_nodes, nodes_of, place_of
from executor.storage.errors import StorageDown
from executor.storage.staging import Staged
from shared.errors import StartupError
from shared.logs import get_logger

log = get_logger(__name__)

PART_BYTES = 8 * 1024 * 1024
"""S3 takes up to 10,000 parts of 5 MiB or more."""
PARTS_AT_ONCE = 2
_PATIENCE = {"timeout": "60s", "connect_timeout": "5s"}
_RETRIES: Any = {"max_retries": 3}


class S3:
    """Blobs in `bucket`, below `prefix`. What `config` leaves open is taken from the environment."""

    def __init__(self, bucket: str, prefix: str, config: Mapping[str, str]) -> None:
        self.shown = f"s3://{bucket}/{prefix}".rstrip("/")
        insecure = config.get("endpoint", "").startswith("http://")
        options: Any = {**_PATIENCE, "allow_http": insecure}
        settings: Any = dict(config)
        try:
            self._store = S3Store(
                bucket,
                prefix=prefix or None,
                config=settings,
                client_options=options,
                retry_config=_RETRIES,
            )
        except BaseError as exc:
            raise StartupError(f"STORAGE_URL {self.shown} cannot be used: {_first_line(exc)}.") from None

    async def open(self) -> None:
        """S3 may come up after us: whether it answers is told by `free_bytes`."""

    async def put(self, name: str, staged: Staged) -> None:
        place = place_of(name)
        nodes = await dumped_nodes(staged)
        with _working():
            if nodes is not None:
                await obstore.put_async(self._store, nodes_of(place), nodes)
            await obstore.put_async(
                self._store, place, staged.path, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )

    async def read(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        # A request for each piece: one stream for all would time out under a customer who reads slowly.
        while start < end:
            with _working():
                piece = await obstore.get_range_async(
                    self._store, place_of(name), start=start, end=min(start + READ_BYTES, end)
                )
            start += len(piece)
            yield bytes(piece)

    async def nodes(self, name: str) -> bytes:
        with _working():
            found = await obstore.get_async(self._store, nodes_of(place_of(name)))
            return bytes(await found.bytes_async())

    async def delete(self, name: str) -> None:
        for place in (place_of(name), nodes_of(place_of(name))):
            with _working(), contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self._store, place)

    async def free_bytes(self) -> int | None:
        with _working():
            await obstore.list_with_delimiter_async(self._store, "nothing-is-called-this")
        return None


@contextlib.contextmanager
def _working() -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as exc:
        log.error("s3_failed", error=_first_line(exc))
        raise StorageDown("the stored content cannot be reached now") from None


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0][:300]
