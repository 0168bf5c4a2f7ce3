"""What the sellers of an x402 price are asked, and what becomes of their answer in a quote."""

import base64
import json
from typing import Any

import pytest
import respx

from quote.providers.keeping import size_class
from quote.providers.storage.galaksio_storage import MAX_FILE_BYTES
from tests.quote.remote.sellers import PROBED, declined, one, row, sellers
from tests.support.challenges import PAY_TO, v1, v1_entry, v2, v2_entry

BASE, SEPOLIA, MEGA = "eip155:8453", "eip155:84532", "eip155:4326"
KIB = 1024
every_seller = pytest.mark.parametrize("name", PROBED)


@every_seller
@pytest.mark.parametrize("answer", [v1(v1_entry("12345")), v2(v2_entry("12345"))], ids=["v1", "v2"])
async def test_the_price_is_what_its_402_asks_for(
    name: str, answer: Any, respx_mock: respx.MockRouter
) -> None:
    method, url = PROBED[name]
    respx_mock.request(method, url).mock(return_value=answer)
    async with sellers() as found:
        price = await one(found[name])
    assert (price.atomic, price.refusal, price.settle) == (12345, None, "before")
    assert (price.network, price.recipient) == (BASE, PAY_TO)
    told = price.x402_instructions
    assert told is not None
    assert told.keys() - {"then"} == {"x402Version", "method", "url", "headers", "body", "accepts"}
    assert (len(told["accepts"]), told["accepts"][0]["payTo"]) == (1, PAY_TO)
    assert told["headers"].keys() == {
        "Content-Type",
        {1: "X-PAYMENT", 2: "PAYMENT-SIGNATURE"}[told["x402Version"]],
    }


@every_seller
async def test_a_price_in_18_decimals_is_as_good_as_one_in_6(name: str, respx_mock: respx.MockRouter) -> None:
    method, url = PROBED[name]
    entries = v2_entry("20000"), v2_entry(str(5 * 10**15), MEGA)
    respx_mock.request(method, url).mock(return_value=v2(*entries))
    async with sellers() as found:
        price = await one(found[name])
    assert (price.atomic, price.network) == (5_000, MEGA)
    async with sellers(row(name, networks=[BASE])) as found:
        price = await one(found[name])
    assert (price.atomic, price.network, price.refusal) == (20_000, BASE, None)


@every_seller
async def test_where_the_executor_cannot_pay_the_price_is_shown_and_refused(
    name: str, respx_mock: respx.MockRouter
) -> None:
    method, url = PROBED[name]
    respx_mock.request(method, url).mock(return_value=v2(v2_entry("20000"), v2_entry(str(3 * 10**16), MEGA)))
    rows = {
        "network_unavailable": row(name, networks=["eip155:137"]),
        "executor_funds": row(name, spendableAtomic=19_999),
        "executor_busy": row(name, accepting=False),
    }
    for code, told in rows.items():
        async with sellers(told) as found:
            price = await one(found[name])
        assert price.refusal is not None
        assert (price.refusal.code, price.atomic) == (code, 20_000)
    async with sellers(row(name, spendableAtomic=20_000, networks=[BASE])) as found:
        assert (await one(found[name])).refusal is None


@every_seller
async def test_test_money_is_no_price_for_a_host_that_takes_real_money(
    name: str, respx_mock: respx.MockRouter
) -> None:
    method, url = PROBED[name]
    route = respx_mock.request(method, url).mock(return_value=v2(v2_entry("1", SEPOLIA), v2_entry("20000")))
    for networks in (None, [SEPOLIA, BASE], [SEPOLIA]):
        async with sellers(row(name, networks=networks)) as found:
            assert (await one(found[name])).atomic == 20_000
    route.mock(return_value=v2(v2_entry("1", SEPOLIA)))
    for networks in (None, [SEPOLIA]):
        async with sellers(row(name, networks=networks)) as found:
            assert "test money only" in str(await declined(found[name]))


@every_seller
async def test_a_host_that_takes_test_money_spends_no_real_money(
    name: str, respx_mock: respx.MockRouter
) -> None:
    method, url = PROBED[name]
    route = respx_mock.request(method, url).mock(return_value=v2(v2_entry("20000", SEPOLIA), v2_entry("1")))
    for networks in (None, [SEPOLIA, BASE], [SEPOLIA]):
        async with sellers(row(name, networks=networks), X402_NETWORK="base-sepolia") as found:
            price = await one(found[name])
        assert (price.atomic, price.network, price.refusal) == (20_000, SEPOLIA, None)
    route.mock(return_value=v2(v2_entry("20000")))
    for networks in (None, [BASE]):
        async with sellers(row(name, networks=networks), X402_NETWORK="base-sepolia") as found:
            price = await one(found[name])
        assert price.refusal is not None
        assert (price.atomic, price.refusal.code, price.refusal.retry_after_s) == (20_000, "real_money", None)


@every_seller
async def test_what_is_copied_of_it_is_bounded(name: str, respx_mock: respx.MockRouter) -> None:
    method, url = PROBED[name]
    long = {"description": "x" * 2000, "extra": {"priceUSD": "9" * 2000, "k" * 2000: 1, "big": 10**400}}
    many = [v1_entry("20000", mimeType=str(i) * 200, list=["y" * 900] * 2) for i in range(10, 30)]
    respx_mock.request(method, url).mock(return_value=v1(v1_entry("10000", **long), *many))
    async with sellers() as found:
        price = await one(found[name])
    assert price.x402_instructions is not None
    first, *others = price.x402_instructions["accepts"]
    assert "description" not in first
    assert first["extra"] == {}
    assert 0 < len(others) < len(many)
    assert len(json.dumps([first, *others])) <= 17 * KIB
    assert len(json.dumps(price.extras)) < KIB


@every_seller
async def test_a_provider_that_the_settings_leave_out_is_disabled(name: str) -> None:
    async with sellers(REMOTE_PROVIDERS="off") as found:
        assert found[name].disabled
    async with sellers(REMOTE_PROVIDERS=name) as found:
        assert [seller.name for seller in found.values() if seller.disabled is None] == [name]


async def test_a_cache_is_asked_for_in_its_region(respx_mock: respx.MockRouter) -> None:
    route = respx_mock.post("https://xcache.test/create").mock(return_value=v1(v1_entry()))
    async with sellers() as found:
        price = await one(found["xcache"], region=" EU-West-1 ")
        assert json.loads(route.calls.last.request.content) == {"region": "eu-west-1"}
        assert price.metadata == {"region": "eu-west-1", "operations_included": 50_000}
        for region in ("", "eu west", "eu_west", "é", "../create", "eu\nwest"):
            assert "letters" in str(await declined(found["xcache"], region=region))
        assert "50000 operations" in str(await declined(found["xcache"], operations=50_001))
    assert route.call_count == 1


async def test_a_pin_costs_the_same_up_to_100_million_bytes(respx_mock: respx.MockRouter) -> None:
    route = respx_mock.get("https://openx402.test/pin/quote_request").mock(return_value=v2(v2_entry()))
    async with sellers() as found:
        seller = found["openx402"]
        assert (await one(seller, fileSize=100_000_000)).atomic == 10_000
        assert "100000000" in str(await declined(seller, fileSize=100_000_001))
        assert "for good" in str(await declined(seller, permanent=True))
    assert route.call_count == 1
    assert route.calls.last.request.content == b""


async def test_pinata_is_told_a_size_and_nothing_of_the_file(respx_mock: respx.MockRouter) -> None:
    route = respx_mock.post("https://pinata.test/v1/pin/public").mock(return_value=v1(v1_entry()))
    async with sellers() as found:
        price = await one(found["pinata"], fileSize=300 * KIB, fileName="secret.pdf")
        told = json.loads(route.calls.last.request.content)
        assert told == {"fileSize": 512 * KIB, "name": "file", "keyvalues": {}}
        assert price.metadata["priced_size_bytes"] == 512 * KIB
        assert price.x402_instructions is not None
        assert "upload" in price.x402_instructions["then"]
        assert "100000000" in str(await declined(found["pinata"], fileSize=100_000_001))
        assert "for good" in str(await declined(found["pinata"], permanent=True))
    assert route.call_count == 1


@pytest.mark.parametrize(
    ("size_bytes", "asked_bytes"),
    [(0, KIB), (1, KIB), (KIB, KIB), (KIB + 1, 2 * KIB), (MAX_FILE_BYTES, MAX_FILE_BYTES)],
)
async def test_galaksio_storage_is_sent_as_many_zeros_as_the_file_may_be_long(
    size_bytes: int, asked_bytes: int, respx_mock: respx.MockRouter
) -> None:
    route = respx_mock.post("https://storage.test/upload").mock(return_value=v1(v1_entry("15000")))
    async with sellers() as found:
        price = await one(found["galaksio_storage"], fileSize=size_bytes, permanent=True)
    told = json.loads(route.calls.last.request.content)
    assert base64.b64decode(told.pop("data")) == bytes(asked_bytes)
    assert told == {"content_type": "application/octet-stream", "is_base64": True}
    assert (price.atomic, price.metadata["priced_size_bytes"]) == (15_000, asked_bytes)
    assert price.metadata["permanent"] is True


async def test_galaksio_storage_is_not_asked_for_what_would_have_to_be_sent_to_ask(
    respx_mock: respx.MockRouter,
) -> None:
    async with sellers() as found:
        refused = await declined(found["galaksio_storage"], fileSize=MAX_FILE_BYTES + 1, permanent=True)
    assert "1048576 bytes" in str(refused)


@pytest.mark.parametrize(
    ("stated", "shown", "noted"),
    [
        ("0.015", "0.015", False),
        (0.015, "0.015", False),
        (0.01, "0.01", False),
        (0.0150004, "0.0150004", False),
        (0.0151, "0.0151", False),
        (0.0152, "0.0152", True),
        ("0.001", "0.001", True),
        (15, "15", True),
        *((odd, None, False) for odd in (None, True, "$1", "", -1, 0, [], {}, "NaN", "1e-999999", "9" * 40)),
    ],
)
async def test_what_it_says_of_its_price_beside_the_amount_is_shown_and_does_not_count(
    stated: Any, shown: str | None, noted: bool, respx_mock: respx.MockRouter
) -> None:
    entry = v1_entry("15000", extra={"priceUSD": stated, "dynamicPricing": True})
    respx_mock.post("https://storage.test/upload").mock(return_value=v1(entry))
    async with sellers() as found:
        price = await one(found["galaksio_storage"], permanent=True)
    assert price.atomic == 15_000
    assert price.extras.get("stated_price_usd") == shown
    assert ("price_note" in price.extras) is noted
    assert price.extras["dynamic_pricing"] is True
    assert price.extras["base_fee_usd"] == "0.01"


async def test_what_can_never_be_deleted_is_sold_to_those_who_want_that(respx_mock: respx.MockRouter) -> None:
    respx_mock.post("https://storage.test/upload").mock(return_value=v1(v1_entry()))
    async with sellers() as found:
        seller = found["galaksio_storage"]
        assert (await one(seller, permanent=True, provider=None)).refusal is None
        assert (await one(seller, permanent=False, provider="galaksio_storage")).refusal is None
        refused = (await one(seller, permanent=False, provider=None)).refusal
    assert refused is not None
    assert (refused.code, refused.retry_after_s) == ("keeps_for_good", None)


async def test_a_snippet_of_python_is_all_that_merit_systems_is_sold_for(
    respx_mock: respx.MockRouter,
) -> None:
    route = respx_mock.post("https://merit.test/execute").mock(return_value=v1(v1_entry()))
    async with sellers() as found:
        seller = found["merit-systems"]
        await one(seller, language="py", size="small", timeout=5)
        price = await one(seller, codeSize=100_000, size="medium")
        assert price.metadata["timeout_s"] is None
        assert "python only" in str(await declined(seller, language="bash"))
        assert "no dependencies" in str(await declined(seller, dependencies=1))
        assert "code alone" in str(await declined(seller, inputs=True))
        assert "512 MB" in str(await declined(seller, size="large"))
    asked = {call.request.content for call in route.calls}
    assert [json.loads(body) for body in asked] == [{"snippet": "pass", "language": "python"}]
    async with sellers(row("merit-systems", languages=[{"name": "bash"}])) as found:
        refusal = (await one(found["merit-systems"])).refusal
    assert refusal is not None
    assert refusal.code == "runtime_unavailable"


@pytest.mark.parametrize(
    ("size_bytes", "kib"),
    [
        (0, 1),
        (1024, 1),
        (1025, 2),
        (200 * KIB, 256),
        (256 * KIB, 256),
        (256 * KIB + 1, 512),
        (700 * KIB, 768),
    ],
)
def test_sizes_are_asked_in_classes(size_bytes: int, kib: int) -> None:
    assert size_class(size_bytes) == kib * KIB


def test_there_are_few_classes_and_each_holds_its_files() -> None:
    sizes = range(0, MAX_FILE_BYTES + 1, 97)
    assert all(size_class(size) >= size for size in sizes)
    assert len({size_class(size) for size in sizes}) <= 12
