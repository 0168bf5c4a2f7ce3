"""Keeps content for good on Arweave, through galaksio_storage (providers.md); and its other operations.

What it keeps has a transaction's id: `{base}/data/{tx}` gives it back, for $0.001.
"""

import asyncio
import base64
import re
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel

from executor.providers.base import Context, Task
from executor.providers.remote import paid, text_of
from executor.providers.storage import StorageAsk
from executor.providers.storage.base import RemoteStorage
from executor.storage.content import Content
from executor.storage.fetching.labels import safe_content_type
from executor.upstream.base import Answer, Order
from shared.jobs import Upstream, Wire
from shared.store import StoreResult
from shared.strict_json import strict_json

UPLOAD_TIMEOUT_S = 60.0
ASK_TIMEOUT_S = 30.0
READ_MAX_BYTES = 10 * 1024 * 1024
_TX = re.compile(r"[A-Za-z0-9_-]{1,64}")


class KeptOnArweave(StoreResult):
    """With the transaction that keeps it; `gateway_url` is where Arweave gives it for nothing."""

    tx_id: str
    gateway_url: str | None


class ContentRead(Wire):
    """Content of a transaction, as base64."""

    tx_id: str
    data: str
    encoding: Literal["base64"] = "base64"
    size: int
    content_type: str
    upstream: Upstream = None


class Transactions(Wire):
    """Those that a query found."""

    transactions: list[str]
    count: int
    upstream: Upstream = None


class Health(Wire):
    """How galaksio_storage says it is."""

    status: str


class Permanent(RemoteStorage):
    """`name` sells it: galaksio_storage itself, or Arweave through it."""

    permanent = True
    max_bytes = 10 * 1024 * 1024
    """It goes as base64 in JSON."""

    def __init__(self, context: Context, name: str) -> None:
        super().__init__(context, name)
        self._url = context.settings.galaksio_storage_url

    async def _keep(self, task: Task, content: Content) -> StoreResult:
        body = {
            "data": await asyncio.to_thread(_base64, content),
            "content_type": content.content_type,
            "is_base64": True,
        }
        order = Order("POST", f"{self._url}/upload", step="upload", json=body, timeout_s=UPLOAD_TIMEOUT_S)
        answer = await self._buy(task, order)
        said = self._object(answer.body)
        tx_id = text_of(said, "tx_id", "txId", "id")
        if tx_id is None or not _TX.fullmatch(tx_id):
            raise self._refused("answered without a transaction")
        gateway = text_of(said, "gateway_url")
        gateway = gateway if gateway and gateway.startswith("https://") else None
        kept = self._kept(
            content, f"{self._url}/data/{tx_id}", answer.receipt, txId=tx_id, gatewayUrl=gateway
        )
        return KeptOnArweave.model_validate({**kept, "tx_id": tx_id, "gateway_url": gateway})


class GalaksioStorage(Permanent):
    """Also reads, searches and tells its health, for tasks that ask for it by `storageOperation`."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "galaksio_storage")

    async def execute(self, task: Task) -> BaseModel:
        """Raises as `RemoteStorage.execute` does."""
        ask = task.request
        if not isinstance(ask, StorageAsk):
            return await super().execute(task)
        self._check_on()
        if ask.operation == "data":
            return await self._read(task, ask.tx or "")
        if ask.operation == "query":
            return await self._query(task, ask.query or {})
        return await self._health(task)

    async def _read(self, task: Task, tx_id: str) -> ContentRead:
        answer = await self._ask(task, "GET", f"/data/{tx_id}", "data", max_bytes=READ_MAX_BYTES)
        return ContentRead(
            tx_id=tx_id,
            data=base64.b64encode(answer.body).decode(),
            size=len(answer.body),
            content_type=safe_content_type(answer.headers.get("content-type")),
            upstream=paid(answer.receipt),
        )

    async def _query(self, task: Task, query: dict[str, Any]) -> Transactions:
        answer = await self._ask(task, "POST", "/query", "query", json=query)
        try:
            found = strict_json(answer.body)
        except ValueError:
            found = None
        if not isinstance(found, list) or not all(isinstance(tx, str) and _TX.fullmatch(tx) for tx in found):
            raise self._refused("answered without a list of transactions")
        return Transactions(transactions=found, count=len(found), upstream=paid(answer.receipt))

    async def _health(self, task: Task) -> Health:
        answer = await self._ask(replace(task, max_spend_atomic=0), "GET", "/health", "health")
        return Health(status=text_of(self._object(answer.body), "status") or "ok")

    async def _ask(self, task: Task, method: str, path: str, step: str, **more: Any) -> Answer:
        """What changes nothing there, and may be asked again."""
        url = f"{self._url}{path}"
        order = Order(method, url, step=step, timeout_s=ASK_TIMEOUT_S, repeatable=True, **more)
        return await self._buy(task, order)


def _base64(content: Content) -> str:
    return base64.b64encode(content.path.read_bytes()).decode()


def provider(context: Context) -> GalaksioStorage:
    return GalaksioStorage(context)
