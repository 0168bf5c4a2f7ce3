"""A job's content as a file, for somebody else to be given."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from executor.storage.content import Content
from executor.storage.errors import ContentTooLarge, NoSuchUpload
from executor.storage.fetch import Fetcher
from executor.storage.fetching.errors import FetchRefused
from executor.storage.storage import Storage
from shared.errors import BadRequest, JobUndone
from shared.store import StoreRequest, parse_store_request
from tests.executor.storage.conftest import MB, Now, Place, chunks
from tests.support.internet import Page, small_internet

CID_OF_HELLO = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"
SHA256_OF_HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def asked(**fields: Any) -> StoreRequest:
    return parse_store_request(fields)


@pytest.fixture
async def anywhere(place: Place, now: Now) -> AsyncIterator[Storage]:
    """A store in a folder, and one in S3."""
    made = Storage(place.options, now)
    await made.open()
    yield made
    await made.close()


async def test_data_is_a_file_with_its_name_type_and_cid(storage: Storage, kept: Place) -> None:
    async with storage.content_of("job", asked(data="hello", filename="a.html")) as content:
        assert content.path.read_bytes() == b"hello"
        assert content == Content(content.path, 5, SHA256_OF_HELLO, CID_OF_HELLO, "a.html", "text/html")
    assert not content.path.exists() and kept.staged() == [] and kept.listed() == []


async def test_an_upload_is_a_file_and_stays_an_upload(anywhere: Storage, place: Place) -> None:
    data = bytes(range(256)) * 4 * 4096 * 3
    upload = await anywhere.upload(chunks(data))
    listed = place.listed()
    for _ in range(2):
        request = asked(upload=upload.id, filename="a.png")
        async with anywhere.content_of("job", request) as content:
            assert hashlib.sha256(content.path.read_bytes()).hexdigest() == content.sha256
            assert (content.sha256, content.cid, content.size_bytes) == (upload.sha256, upload.cid, len(data))
            assert (content.name, content.content_type) == ("a.png", "image/png")
        assert place.staged() == [] and place.listed() == listed
    assert (await anywhere.store("job", asked(upload=upload.id))).cid == upload.cid


async def test_the_file_outlives_the_upload(anywhere: Storage, place: Place) -> None:
    upload = await anywhere.upload(chunks(b"hello"))
    async with anywhere.content_of("job", asked(upload=upload.id)) as content:
        await anywhere.drop_upload(upload.id)
        assert place.listed() == [] and content.path.read_bytes() == b"hello"
    with pytest.raises(NoSuchUpload):
        async with anywhere.content_of("job", asked(upload=upload.id)):
            pass


async def test_a_job_that_was_kept_here_before_has_its_content_still(storage: Storage) -> None:
    upload = await storage.upload(chunks(b"hello"))
    await storage.store("job", asked(upload=upload.id, filename="a.txt"))
    async with storage.content_of("job", asked(upload=upload.id)) as content:
        assert (content.path.read_bytes(), content.name) == (b"hello", "a.txt")
    with pytest.raises(NoSuchUpload):
        async with storage.content_of("another job", asked(upload=upload.id)):
            pass


async def test_a_job_that_was_undone_has_none(storage: Storage) -> None:
    await storage.undo("job")
    with pytest.raises(JobUndone):
        async with storage.content_of("job", asked(data="hello")):
            pass


async def test_no_more_is_taken_than_was_paid_for(storage: Storage, kept: Place) -> None:
    upload = await storage.upload(chunks(b"hello"))
    for request in (asked(data="hello", maxBytes=4), asked(upload=upload.id, maxBytes=4)):
        with pytest.raises(ContentTooLarge):
            async with storage.content_of("job", request):
                pass
    with pytest.raises(BadRequest):
        async with storage.content_of("job", asked(data="?", encoding="base64")):
            pass
    assert kept.staged() == []


async def test_a_url_is_fetched_under_its_rules(kept: Place, now: Now) -> None:
    async with small_internet() as internet:
        internet.pages["/a.bin"] = Page.of(b"hello", Content_Type="image/png")
        made = Storage(kept.options, now, Fetcher(internet.options()))
        await made.open()
        async with made.content_of("job", asked(url=internet.url_of("/a.bin"))) as content:
            assert content.path.read_bytes() == b"hello"
            assert (content.name, content.content_type) == ("a.bin", "image/png")
        with pytest.raises(FetchRefused):
            async with made.content_of("job", asked(url="http://127.0.0.1/")):
                pass
        assert kept.staged() == []
        await made.close()


async def test_one_who_is_cancelled_leaves_nothing_behind(storage: Storage, kept: Place) -> None:
    inside = asyncio.Event()

    async def hold() -> None:
        async with storage.content_of("job", asked(data=base64.b64encode(bytes(MB)).decode())):
            inside.set()
            await asyncio.sleep(60)

    holding = asyncio.create_task(hold())
    await inside.wait()
    assert len(kept.staged()) == 1
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    assert kept.staged() == []


async def test_what_a_killed_executor_was_about_to_send_is_gone_with_the_next_one(
    storage: Storage, kept: Place, now: Now
) -> None:
    dead = kept.options.home / "content" / "staging" / ("f" * 32)
    dead.mkdir(parents=True)
    (dead / "content").write_bytes(b"hello")
    Path(f"{dead}.lock").touch()
    async with storage.content_of("job", asked(data="mine")) as content:
        other = Storage(kept.options, now)
        await other.open()
        assert not dead.exists() and content.path.read_bytes() == b"mine"
        await other.close()
