"""What a store asks for, what it costs, and what the executor is told."""

import json
from typing import Any

import pytest

from broker.operations import STORE, Shown
from broker.operations.base import Work
from broker.payments.intake import Taken
from broker.payments.offers import Offer, OfferBook, request_hash
from broker.payments.pricing import Pricing
from shared.errors import BadRequest, GalaksioError
from shared.store import UploadInfo, UrlInfo
from tests.broker.test_offers import Market


def work(**fields: Any) -> Work:
    return STORE.parse(json.dumps(fields).encode(), {})


def hash_of(**fields: Any) -> str:
    return request_hash("POST", "/store", work(**fields).meaning)


def test_the_same_content_by_other_words_is_the_same_request_and_all_else_is_not() -> None:
    plain = hash_of(data="x")
    assert hash_of(data="eA==", encoding="base64", contentType="text/plain; charset=utf-8") == plain
    assert hash_of(data="x", options={"permanent": False, "ttl": 3600}) == plain
    others = [
        hash_of(data="y"),
        hash_of(data="x", ttl=60),
        hash_of(data="x", permanent=True),
        hash_of(data="x", filename="x.txt"),
        hash_of(data="x", contentType="image/png"),
        hash_of(data="x", provider="local"),
        hash_of(data={"url": "https://example.com/x"}),
    ]
    assert len({plain, *others}) == len(others) + 1
    # For good is for good, whatever the ttl says.
    assert hash_of(data="x", permanent=True, ttl=5) == hash_of(data="x", permanent=True)


def test_the_content_travels_beside_the_task_never_in_it() -> None:
    read = work(data="secret words", filename="a.txt")
    assert read.content == b"secret words"
    assert "secret" not in json.dumps([read.task, read.ask, read.meaning])
    assert read.ask["fileSize"] == 12


@pytest.mark.parametrize("name", ["upload", "maxBytes", "max_bytes"])
def test_what_only_the_broker_says_is_not_taken_from_a_customer(name: str) -> None:
    assert work(data="x", **{name: 5}).task.get("maxBytes") is None
    with pytest.raises(BadRequest, match="data is required"):
        work(**{name: "another's"})


class Executor:
    """Stands in for the executor's client: counts what is handed over and what is taken away again."""

    def __init__(self, size_bytes: int | None = None) -> None:
        self.size_bytes = size_bytes
        self.measured: list[str] = []
        self.uploaded: list[bytes] = []
        self.discarded: list[str] = []

    async def measure(self, url: str) -> UrlInfo:
        self.measured.append(url)
        return UrlInfo(size_bytes=self.size_bytes, content_type="image/png", filename=None)

    async def upload(self, content: Any) -> UploadInfo:
        self.uploaded.append(b"".join([part async for part in content]))
        return UploadInfo(upload_id="u1", cid="c", size_bytes=1, sha256="s", expires_at="")

    async def discard(self, upload_id: str) -> None:
        self.discarded.append(upload_id)


class SizedMarket(Market):
    """Remembers what it was asked, and says the size in its answer, as quote does."""

    asks: list[dict[str, Any]]

    async def compare(self, path: str, ask: dict[str, object]) -> Any:
        self.asks = [*getattr(self, "asks", []), ask]
        found = await super().compare(path, ask)
        for quote in found.quotes:
            quote.metadata["file_size_bytes"] = ask["fileSize"]
        return found


async def priced(offers: OfferBook, executor: Executor, read: Work) -> tuple[Offer, SizedMarket]:
    market = SizedMarket(800)
    pricing = Pricing(market, offers, 5000, measure=executor.measure)  # type: ignore[arg-type]
    return await pricing.offer(STORE, read, "hash"), market


async def test_what_lies_at_an_address_is_priced_by_its_size_and_no_more_of_it_is_stored(
    offers: OfferBook,
) -> None:
    executor, read = Executor(12_345), work(data={"url": "https://example.com/a.png"})
    offer, market = await priced(offers, executor, read)
    assert executor.measured == ["https://example.com/a.png"]
    assert [ask["fileSize"] for ask in market.asks] == [12_345]
    task = await Taken(read, executor).task(offer)  # type: ignore[arg-type]
    assert (task["url"], task["maxBytes"]) == ("https://example.com/a.png", 12_345)
    assert executor.uploaded == []


async def test_an_address_that_does_not_say_its_size_has_no_price(offers: OfferBook) -> None:
    with pytest.raises(GalaksioError) as caught:
        await priced(offers, Executor(None), work(data={"url": "https://example.com/live"}))
    assert (caught.value.status, caught.value.code) == (400, "size_unknown")


async def test_content_is_handed_over_once_however_often_the_task_is_asked_for(offers: OfferBook) -> None:
    executor, read = Executor(), work(data="x" * 600_000)
    offer, _ = await priced(offers, executor, read)
    taken = Taken(read, executor)  # type: ignore[arg-type]
    assert (await taken.task(offer))["upload"] == (await taken.task(offer))["upload"] == "u1"
    assert executor.uploaded == [b"x" * 600_000]


def test_an_address_in_a_result_is_made_this_brokers_and_any_other_left_alone() -> None:
    assert STORE.shown is not None
    told = STORE.shown({"url": "/files/abc"}, Shown("https://host"))
    assert told["url"] == "https://host/files/abc"
    assert STORE.shown({"url": "https://gateway/x"}, Shown("https://host"))["url"] == "https://gateway/x"
