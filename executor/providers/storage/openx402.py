"""Pins content to IPFS at openx402: $0.01 for JSON as for a file (providers.md)."""

import asyncio
from typing import Any

from executor.providers.base import Context, Task
from executor.providers.remote import text_of
from executor.providers.storage.base import GATEWAY, RemoteStorage, is_cid
from executor.storage.content import Content
from executor.upstream.base import FilePart, Order
from shared.store import StoreResult
from shared.strict_json import strict_json

TIMEOUT_S = 60.0
JSON_MAX_BYTES = 10 * 1024 * 1024
"""Longer JSON is pinned as the file that it is: parsed, it takes many times its size of memory."""


class Pinned(StoreResult):
    """With openx402's own fields (providers.md)."""

    success: bool = True
    id: str | None
    ipfs_hash: str
    ipfs_url: str
    pinata_url: str | None


class PinnedJson(Pinned):
    """JSON, which is pinned as its value: the bytes that openx402 makes of it are its own."""

    endpoint: str = "/pin/json"
    price_usd: float = 0.01


class Openx402(RemoteStorage):
    """Content by its CID, to be had at any IPFS gateway. For how long, openx402 does not say."""

    max_bytes = 100_000_000

    def __init__(self, context: Context) -> None:
        super().__init__(context, "openx402", sends_files=True)
        self._url = context.settings.openx402_url

    async def _keep(self, task: Task, content: Content) -> StoreResult:
        value = await _json_in(content)
        order = self._pin_file(content) if value is None else self._pin_json(value)
        answer = await self._buy(task, order)
        said = self._object(answer.body)
        cid = text_of(said, "ipfsHash")
        if cid is None or not is_cid(cid):
            raise self._refused("answered without a hash")
        own: dict[str, Any] = {"id": text_of(said, "id"), "pinata_url": text_of(said, "pinataUrl")}
        extras = {"id": own["id"], "pinataUrl": own["pinata_url"]}
        kept = self._kept(content, f"{GATEWAY}/{cid}", answer.receipt, cid=cid, **extras)
        kept |= {"ipfs_hash": cid, "ipfs_url": f"{GATEWAY}/{cid}", **own}
        if value is not None:
            return PinnedJson.model_validate(kept)
        return Pinned.model_validate({**kept, "filename": content.name or text_of(said, "filename")})

    def _pin_json(self, value: Any) -> Order:
        # The same value again is the same pin.
        return Order(
            "POST", f"{self._url}/pin/json", step="pin", json=value, timeout_s=TIMEOUT_S, repeatable=True
        )

    def _pin_file(self, content: Content) -> Order:
        part = FilePart("file", content.path, content.name or "file", content.content_type)
        return Order(
            "POST", f"{self._url}/pin/file", step="pin", file=part, timeout_s=TIMEOUT_S, repeatable=True
        )


async def _json_in(content: Content) -> Any:
    """The value of content that is JSON, whatever it is called; None for anything else, and for `null`.

    What only claims to be JSON, by its name or its URL, is pinned as the file that it is.
    """
    if content.size_bytes > JSON_MAX_BYTES:
        return None
    try:
        return await asyncio.to_thread(lambda: strict_json(content.path.read_bytes()))
    except ValueError:
        return None


def provider(context: Context) -> Openx402:
    return Openx402(context)
