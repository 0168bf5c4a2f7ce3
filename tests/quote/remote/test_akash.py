"""Machines by the month, for comparison: what Akash and three others take, by Akash's own account."""

import json

import httpx
import pytest
import respx

from quote.providers.base import Price
from tests.quote.remote.sellers import ask_of, sellers

TOLD = '{"spec": {"cpu": 1000}, "akash": 2.592, "aws": 25.92, "gcp": 30, "azure": 259200.000001}'


async def prices(respx_mock: respx.MockRouter, told: str = TOLD, **fields: object) -> dict[str | None, Price]:
    respx_mock.post("https://akash.test/pricing").mock(return_value=httpx.Response(200, text=told))
    async with sellers() as found:
        seller = found["akash"]
        return {price.seller: price for price in await seller.prices(ask_of(seller, **fields))}


async def test_four_sellers_are_shown_and_none_is_sold(respx_mock: respx.MockRouter) -> None:
    found = await prices(respx_mock, timeout=10)
    assert list(found) == ["akash", "aws", "gcp", "azure"]
    assert {name: price.atomic for name, price in found.items()} == {
        "akash": 10,
        "aws": 100,
        "gcp": 116,  # 115.74
        "azure": 1_000_001,
    }
    for price in found.values():
        assert price.refusal is not None
        assert (price.refusal.code, price.refusal.retry_after_s) == ("quote_only", None)
        assert (price.recipient, price.x402_instructions) == (None, None)
    assert found["azure"].metadata["price_per_month_usd"] == "259200.000001"


async def test_a_run_that_would_cost_nothing_costs_one_unit(respx_mock: respx.MockRouter) -> None:
    found = await prices(respx_mock, '{"akash": 0.000001}', timeout=0.001)
    assert [price.atomic for price in found.values()] == [1]


@pytest.mark.parametrize(("size", "mib"), [("small", 256), ("medium", 512), ("large", 1024)])
async def test_it_is_asked_for_a_core_and_the_runs_memory(
    size: str, mib: int, respx_mock: respx.MockRouter
) -> None:
    await prices(respx_mock, size=size)
    asked = json.loads(respx_mock.calls.last.request.content)
    assert asked == {"cpu": 1000, "memory": mib * 2**20, "storage": 10**9}


async def test_a_seller_without_a_figure_is_left_out(respx_mock: respx.MockRouter) -> None:
    told = '{"akash": 3, "aws": null, "gcp": "30", "azure": -1}'
    assert list(await prices(respx_mock, told)) == ["akash"]
