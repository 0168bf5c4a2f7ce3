"""What a request brings along: handed to the executor, so that a job names it and never holds it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from broker.clients import ExecutorClient
from broker.operations import Work
from broker.payments.offers import Offer
from broker.payments.paid_route import Call
from broker.uploads import Upload

_PART_BYTES = 256 * 1024


@dataclass
class Taken:
    """A request as it was taken in. What was handed over for it is forgotten again unless it is `kept`."""

    work: Work
    executor: ExecutorClient
    upload_id: str | None = None
    kept: bool = False

    async def task(self, offer: Offer) -> dict[str, Any]:
        """What the executor is told: no more than was priced, and no content."""
        task = self.work.task
        if self.work.content is not None and self.upload_id is None:
            self.upload_id = (await self.executor.upload(_parts(self.work.content))).upload_id
        if self.upload_id is not None:
            task = {**task, "upload": self.upload_id}
        if self.work.url is not None:
            task = {**task, "maxBytes": offer.quote["metadata"]["file_size_bytes"]}
        return task


class Intake:
    """Reads requests; `executor` keeps uploads until their job comes."""

    def __init__(self, executor: ExecutorClient) -> None:
        self._executor = executor

    async def look(self, call: Call) -> Work:
        """What an unpaid request asks for. Of an upload no more is read than its price needs."""
        if call.upload is None:
            return call.operation.parse(call.body, call.params)
        await call.upload.open()
        if not (call.upload.has_file and call.upload.fields and call.upload.declared_bytes is not None):
            # Options may come behind the file: without any before it, they have to be waited for.
            await call.upload.skip()
        return _uploaded(call, call.upload)

    @asynccontextmanager
    async def take(self, call: Call) -> AsyncIterator[Taken]:
        """A paid request, an upload received whole: its content is part of what the payment is bound to."""
        taken = await self._taken(call)
        try:
            yield taken
        finally:
            if taken.upload_id is not None and not taken.kept:
                await self._executor.discard(taken.upload_id)

    async def _taken(self, call: Call) -> Taken:
        if call.upload is None:
            return Taken(call.operation.parse(call.body, call.params), self._executor)
        await call.upload.open()
        if not call.upload.has_file:
            _uploaded(call, call.upload)  # says what is missing
        received = await self._executor.upload(call.upload.chunks())
        try:
            work = _uploaded(call, call.upload)
        except BaseException:
            await self._executor.discard(received.upload_id)
            raise
        work = replace(work, meaning={**work.meaning, "sha256": received.sha256})
        return Taken(work, self._executor, received.upload_id)


def _uploaded(call: Call, upload: Upload) -> Work:
    if call.operation.uploaded is None:
        raise TypeError(f"{call.operation.name} takes no uploads")
    return call.operation.uploaded(upload)


async def _parts(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _PART_BYTES):
        yield content[start : start + _PART_BYTES]
