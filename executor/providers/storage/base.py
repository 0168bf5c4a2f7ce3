"""What the providers share that sell the keeping of content: the content as a file, and one result."""

import re
from abc import ABC, abstractmethod
from typing import Any, ClassVar, cast

from pydantic import BaseModel

from executor.providers.base import Task
from executor.providers.remote import NotOffered, Remote, paid
from executor.storage.content import Content
from executor.upstream.base import Receipt
from shared.store import StoreRequest, StoreResult

_CID = re.compile(r"Qm[1-9A-HJ-NP-Za-km-z]{44}|b[a-z2-7]{58,110}")
"""Version 0, or version 1 in lower-case base32: what IPFS gateways take."""
GATEWAY = "https://gateway.pinata.cloud/ipfs"


class RemoteStorage(Remote, ABC):
    """A subclass says what it takes, and hands the content over in `_keep`."""

    kind = "storage"
    permanent: ClassVar[bool] = False
    """Whether it keeps content for good. One that does not names no end of it."""
    max_bytes: ClassVar[int]

    async def execute(self, task: Task) -> BaseModel:
        """Raises `UpstreamError`, `NotOffered`, and what `Storage.content_of` does."""
        self._check_on()
        request = cast(StoreRequest, task.request)
        if request.permanent and not self.permanent:
            raise NotOffered(f"{self.name} keeps content for a time only.")
        storage = self._context.storage
        async with storage.content_of(task.job_id, request) as content:
            if content.size_bytes > self.max_bytes:
                raise NotOffered(f"{self.name} takes {self.max_bytes} bytes at the most.")
            # An upload stays: its sender drops it once the result is kept, or it ends by itself.
            with self._judged():
                return await self._keep(task, content)

    @abstractmethod
    async def _keep(self, task: Task, content: Content) -> StoreResult:
        """Hand `content` over. Raises `UpstreamError`."""

    def _kept(
        self, content: Content, url: str, receipt: Receipt | None, *, cid: str | None = None, **extras: Any
    ) -> dict[str, Any]:
        """The fields of a `StoreResult`; `cid` is the provider's own, when it names one."""
        return {
            "cid": cid or content.cid,
            "url": url,
            "provider": self.name,
            "size": content.size_bytes,
            "permanent": self.permanent,
            "expires_at": None,
            "sha256": content.sha256,
            "content_type": content.content_type,
            "filename": content.name or None,
            "upstream": paid(receipt, localCid=content.cid if cid else None, **extras),
        }


def is_cid(text: Any) -> bool:
    return isinstance(text, str) and _CID.fullmatch(text) is not None
