"""Storing what is at a customer's URL."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from executor.storage.errors import NotStored
from executor.storage.fetch import Fetcher
from executor.storage.storage import Storage
from shared.errors import GalaksioError
from shared.store import StoreRequest
from tests.executor.storage.conftest import Now, Place
from tests.support.internet import Internet, Page, small_internet

FILE = bytes(range(256)) * 4096


@pytest.fixture
def database_url() -> None:
    """The SQLite file: holds are tested over both elsewhere."""


@pytest.fixture
async def internet() -> AsyncIterator[Internet]:
    async with small_internet() as running:
        running.pages["/folder/picture.png"] = Page.of(FILE, Content_Type="image/png")
        yield running


@pytest.fixture
async def online(kept: Place, now: Now, internet: Internet) -> AsyncIterator[Storage]:
    made = Storage(kept.options, now, Fetcher(internet.options(max_bytes=2_000_000)))
    await made.open()
    yield made
    await made.close()


URL = "http://files.example.org/folder/picture.png"


async def test_a_url_is_stored_under_the_name_and_type_that_it_gives(online: Storage) -> None:
    hold = await online.store("job", StoreRequest(url=URL))
    assert (hold.name, hold.content_type, hold.size_bytes) == ("picture.png", "image/png", len(FILE))
    found = await online.find(hold.cid)
    assert b"".join([piece async for piece in online.read(found, 0, len(FILE))]) == FILE
    named = await online.store("other", StoreRequest(url=URL, filename="x.bin", content_type="text/plain"))
    assert (named.cid, named.name, named.content_type) == (hold.cid, "x.bin", "text/plain")


async def test_the_same_job_does_not_fetch_again(online: Storage, internet: Internet) -> None:
    first = await online.store("job", StoreRequest(url=URL))
    internet.pages["/folder/picture.png"] = Page.of(b"something else by now")
    assert await online.store("job", StoreRequest(url=URL)) == first
    assert len(internet.heard) == 1


@pytest.mark.parametrize(
    ("page", "status"),
    [
        (Page.of(FILE, Content_Type="image/png"), 413),
        (replace(Page.of(FILE), length=None), 413),
        (replace(Page.of(FILE[:100]), length=900), 502),
        (Page(status=404), 422),
        (Page.to("http://192.168.0.1/"), 400),
    ],
    ids=["too large", "too large without saying so", "cut off", "not there", "leads inside"],
)
async def test_a_url_that_gives_no_whole_file_stores_nothing(
    online: Storage, internet: Internet, kept: Place, page: Page, status: int
) -> None:
    internet.pages["/folder/picture.png"] = page
    with pytest.raises(GalaksioError) as caught:
        await online.store("job", StoreRequest(url=URL, max_bytes=1000))
    assert caught.value.status == status
    assert (kept.listed(), [name for name in kept.staged() if not name.endswith(".lock")]) == ([], [])
    with pytest.raises(NotStored):
        await online.find("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")


async def test_a_url_can_be_measured_before_it_is_bought(online: Storage) -> None:
    info = await online.measure(URL)
    assert (info.size_bytes, info.content_type, info.filename) == (len(FILE), "image/png", "picture.png")
