"""Arweave: what the network takes in AR, and what it is sold for by the one who does the work."""

from typing import Any

import httpx
import pytest
import respx

from quote.providers.base import Price
from tests.quote.remote.sellers import declined, one, row, sellers
from tests.support.challenges import PAY_TO, v1, v1_entry

AR = 10**12
KIB = 1024


class Network:
    """Arweave, CoinGecko and galaksio_storage, which answer as told; `sizes` is what Arweave was asked."""

    def __init__(self, mock: respx.MockRouter, winston: int, usd: str, seller: httpx.Response) -> None:
        self._winston = winston
        self.sizes: list[int] = []
        mock.get(url__startswith="https://arweave.test/price/").mock(side_effect=self._price)
        rate = httpx.Response(200, text='{"arweave": {"usd": %s}}' % usd)  # noqa: UP031 - braces of JSON
        self.rate = mock.get(
            "https://coingecko.test/api/v3/simple/price", params={"ids": "arweave", "vs_currencies": "usd"}
        ).mock(return_value=rate)
        mock.post("https://storage.test/upload").mock(return_value=seller)

    def _price(self, request: httpx.Request) -> httpx.Response:
        self.sizes.append(int(request.url.path.rpartition("/")[2]))
        return httpx.Response(200, text=str(self._winston))


async def sold(*rows: Any, **fields: Any) -> Price:
    async with sellers(*rows) as found:
        return await one(found["arweave"], **{"permanent": True, **fields})


@pytest.mark.parametrize(
    ("winston", "usd", "seller", "atomic"),
    [
        (AR, "5.5", "10000", 5_500_000),
        (AR // 1000, "5.5", "10000", 10_000),
        (AR // 1000, "20", "20000", 20_000),
        (1, "5", "1", 1),
        (AR // 10**6 + 1, "1", "1", 2),
        (3 * AR, "0.1", "1", 300_000),
    ],
)
async def test_it_costs_what_the_network_takes_or_what_its_seller_takes(
    winston: int, usd: str, seller: str, atomic: int, respx_mock: respx.MockRouter
) -> None:
    Network(respx_mock, winston, usd, v1(v1_entry(seller)))
    price = await sold()
    assert (price.atomic, price.refusal, price.recipient, price.settle) == (atomic, None, PAY_TO, "before")
    assert price.extras["winston"] == str(winston)
    assert (price.extras["ar_usd"], price.metadata["done_by"]) == (usd, "galaksio_storage")
    assert price.extras.keys() == {"winston", "ar_usd", "network_price_usd", "seller_price_usd"}


@pytest.mark.parametrize(
    ("size_bytes", "kib"), [(0, 256), (1, 256), (256 * KIB, 256), (256 * KIB + 1, 512), (700 * KIB, 768)]
)
async def test_the_network_is_asked_by_its_own_chunks(
    size_bytes: int, kib: int, respx_mock: respx.MockRouter
) -> None:
    network = Network(respx_mock, AR, "5", v1(v1_entry()))
    assert (await sold(fileSize=size_bytes)).metadata["priced_size_bytes"] == kib * KIB
    assert network.sizes == [kib * KIB]


async def test_a_file_that_its_seller_is_not_asked_for_is_shown_and_not_sold(
    respx_mock: respx.MockRouter,
) -> None:
    Network(respx_mock, AR, "5", v1(v1_entry()))
    price = await sold(fileSize=5 * KIB * KIB)
    assert price.refusal is not None
    assert (price.atomic, price.refusal.code) == (5_000_000, "seller_unavailable")
    assert "1048576 bytes" in price.refusal.reason


async def test_a_file_that_no_customer_can_upload_has_no_price(respx_mock: respx.MockRouter) -> None:
    async with sellers() as found:
        assert "100 MB" in str(await declined(found["arweave"], fileSize=101 * KIB * KIB, permanent=True))
    assert not respx_mock.calls


async def test_it_is_not_sold_where_its_seller_is_left_out(respx_mock: respx.MockRouter) -> None:
    Network(respx_mock, AR, "5", v1(v1_entry()))
    async with sellers(REMOTE_PROVIDERS="arweave") as found:
        price = await one(found["arweave"], permanent=True)
    assert price.refusal is not None
    assert "REMOTE_PROVIDERS" in price.refusal.reason
    assert {call.request.url.host for call in respx_mock.calls} == {"arweave.test", "coingecko.test"}


@pytest.mark.parametrize(
    ("told", "code"),
    [
        (row("arweave", status="unavailable", reason="off"), "no_providers"),
        (row("galaksio_storage", status="unavailable", reason="off"), "no_providers"),
        (row("arweave", networks=["eip155:1"]), "network_unavailable"),
        (row("galaksio_storage", networks=["eip155:1"]), "network_unavailable"),
        (row("arweave", spendableAtomic=9_999), "executor_funds"),
    ],
)
async def test_the_executor_has_to_be_able_to_do_both(
    told: dict[str, Any], code: str, respx_mock: respx.MockRouter
) -> None:
    Network(respx_mock, AR, "5", v1(v1_entry()))
    refusal = (await sold(told)).refusal
    assert refusal is not None
    assert refusal.code == code
    assert (await sold(row("arweave", spendableAtomic=10_000))).refusal is None


async def test_what_can_never_be_deleted_is_sold_to_those_who_want_that(respx_mock: respx.MockRouter) -> None:
    Network(respx_mock, AR, "5", v1(v1_entry()))
    assert (await sold(permanent=False, provider="arweave")).refusal is None
    refusal = (await sold(permanent=False, provider=None)).refusal
    assert refusal is not None
    assert refusal.code == "keeps_for_good"
