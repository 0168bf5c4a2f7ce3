"""The remote providers over plain HTTP: an upstream that pays nobody, and a real store."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from executor.providers.base import Context, Provider, Task, find_providers
from executor.settings import ExecutorSettings
from executor.storage.options import StorageOptions
from executor.storage.storage import Storage
from executor.upstream.base import Answer, Means, Order, Receipt, Spending
from shared.settings import load_settings
from tests.support.internet import Internet, small_internet

RECEIPT = Receipt(
    amount_atomic=10_000,
    network="eip155:84532",
    pay_to="0x00000000000000000000000000000000000000aa",
    transaction="0xfeed",
    x402_version=2,
)
PAID = {
    "paidUsd": "0.01",
    "transaction": "0xfeed",
    "network": "eip155:84532",
    "payTo": "0x00000000000000000000000000000000000000aa",
}
MEANS = Means(reason=None, networks=["eip155:84532"], spendable_atomic=1_000_000, sends_files=True)


@dataclass
class PlainUpstream:
    """Sends each order once, as it is, and says that it paid `receipt` for it."""

    receipt: Receipt | None = RECEIPT
    can: Means = MEANS
    sent: list[tuple[Order, Spending]] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def means(self) -> Means:
        return self.can

    def spent(self) -> dict[str, int]:
        return {"xcache": 20_000}

    async def send(self, order: Order, spending: Spending) -> Answer:
        spending.before_paying()
        self.sent.append((order, spending))
        body: dict[str, Any] = {} if order.json is None else {"json": order.json}
        if order.file is not None:
            part = order.file
            self.files.append(part.path.read_bytes())
            body = {"files": {part.field: (part.name, self.files[-1], part.content_type)}}
        async with httpx.AsyncClient(trust_env=False) as http:
            response = await http.request(order.method, order.url, **body)
        return Answer(response.status_code, dict(response.headers), response.content, self.receipt)


@pytest.fixture
def upstream() -> PlainUpstream:
    return PlainUpstream()


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    made = Storage(StorageOptions(tmp_path, reserve_bytes=0))
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def context(tmp_path: Path, upstream: PlainUpstream, storage: Storage) -> Context:
    return context_of(tmp_path, upstream, storage)


@pytest.fixture
async def internet() -> AsyncIterator[Internet]:
    async with small_internet() as running:
        yield running


def context_of(home: Path, upstream: PlainUpstream, storage: Storage, **env: str) -> Context:
    settings = load_settings(ExecutorSettings, {"GALAKSIO_HOME": str(home), "SANDBOX": "off", **env})
    return Context(settings, upstream, storage)


def provider(context: Context, kind: str, name: str) -> Provider:
    """As the executor finds it."""
    return find_providers(context).providers[kind, name]


def staged(home: Path) -> list[Path]:
    """What is left of content that was on its way to somebody."""
    return list((home / "content" / "staging").glob("*/*"))


def task_of(context: Context, kind: str, name: str, body: dict[str, Any], **more: Any) -> Task:
    """A task as the executor reads it."""
    request = find_providers(context).kinds[kind].parse({"provider": name, **body})
    return Task("job-1", kind, name, request, **more)


async def done(context: Context, kind: str, name: str, body: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The result of a task, as JSON."""
    result = await provider(context, kind, name).execute(task_of(context, kind, name, body, **more))
    dumped: dict[str, Any] = result.model_dump(mode="json")
    return dumped
