"""The remote sellers of prices, with an executor that can do what it is told to."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from quote.asks import ASKS, Ask
from quote.capabilities import Capabilities
from quote.market import Market
from quote.outside import Outside
from quote.providers.base import Context, Decline, Price, QuoteProvider, find_providers
from quote.settings import QuoteSettings
from shared.remote import REMOTE_PROVIDERS
from shared.settings import load_settings

URLS = {
    "XCACHE_URL": "https://xcache.test",
    "OPENX402_URL": "https://openx402.test",
    "GALAKSIO_STORAGE_URL": "https://storage.test",
    "PINATA_URL": "https://pinata.test/v1",
    "ARWEAVE_URL": "https://arweave.test",
    "COINGECKO_URL": "https://coingecko.test/api/v3",
    "MERIT_SYSTEMS_URL": "https://merit.test/execute",
    "AKASH_URL": "https://akash.test/pricing",
}
PROBED = {
    "xcache": ("POST", "https://xcache.test/create"),
    "openx402": ("GET", "https://openx402.test/pin/quote_request"),
    "galaksio_storage": ("POST", "https://storage.test/upload"),
    "pinata": ("POST", "https://pinata.test/v1/pin/public"),
    "merit-systems": ("POST", "https://merit.test/execute"),
}
"""Where those are asked whose price stands in a 402."""
KINDS = {"xcache": "cache", "merit-systems": "compute", "akash": "compute"}
TIMEOUT_S = 20.0


def row(name: str, **more: Any) -> dict[str, Any]:
    """What the executor tells of a provider that it can use."""
    return {"name": name, "kind": KINDS.get(name, "storage"), "status": "available", **more}


async def one(seller: QuoteProvider, **fields: Any) -> Price:
    (price,) = await seller.prices(ask_of(seller, **fields))
    return price


def ask_of(seller: QuoteProvider, **fields: Any) -> Ask:
    if seller.kind == "storage":
        fields = {"provider": seller.name, **fields}
    return ASKS[seller.kind].model_validate(fields)


async def declined(seller: QuoteProvider, **fields: Any) -> Decline:
    with pytest.raises(Decline) as caught:
        await one(seller, **fields)
    return caught.value


@asynccontextmanager
async def sellers(
    *rows: Mapping[str, Any],
    urls: Mapping[str, str] = URLS,
    timeout_s: float = TIMEOUT_S,
    **settings: str,
) -> AsyncIterator[dict[str, QuoteProvider]]:
    """All remote sellers by name. The host is paid on base; the executor can use all, but for `rows`."""
    known = {name: row(name) for name in REMOTE_PROVIDERS} | {one["name"]: dict(one) for one in rows}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"providers": list(known.values())}))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://executor.test") as client,
        Outside(timeout_s) as outside,
    ):
        context = Context(
            load_settings(QuoteSettings, {"X402_NETWORK": "base", **urls, **settings}),
            Capabilities(client, lambda: 0.0),
            Market(),
            outside,
        )
        found = {provider.name: provider for provider in find_providers(context) if provider.name != "local"}
        yield {name: found[name] for name in REMOTE_PROVIDERS}
