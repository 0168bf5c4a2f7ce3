"""One contract over every place where content can be kept."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from executor.storage.blobs import READ_BYTES, Blobs, choose_blobs, new_blob, place_of
from executor.storage.errors import StorageDown
from executor.storage.options import StorageOptions
from executor.storage.staging import Staged, Staging
from shared.errors import StartupError
from shared.ipfs import load_blocks, parse_cid
from tests.executor.storage.conftest import Place, chunks

LARGE = bytes(range(256)) * 10_000 + b"the end"
"""Ten blocks, three pieces of reading, no multiple of anything."""


@asynccontextmanager
async def staged(place: Place, data: bytes) -> AsyncIterator[Staged]:
    staging = Staging(choose_blobs(place.options)[1], "test", 0)
    staging.open()
    try:
        async with staging.stage(chunks(data), len(data)) as made:
            yield made
    finally:
        staging.close()


async def put(blobs: Blobs, place: Place, data: bytes) -> str:
    async with staged(place, data) as made:
        name = new_blob(made.dag.cid)
        await blobs.put(name, made)
    return name


async def whole(blobs: Blobs, name: str, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in blobs.read(name, start, end)])


@pytest.mark.parametrize("data", [b"", b"hello", LARGE], ids=["nothing", "small", "large"])
async def test_what_was_put_is_read_back_as_it_was(blobs: Blobs, place: Place, data: bytes) -> None:
    name = await put(blobs, place, data)
    assert await whole(blobs, name, 0, len(data)) == data


async def test_any_part_can_be_read_and_no_piece_is_large(blobs: Blobs, place: Place) -> None:
    name = await put(blobs, place, LARGE)
    for start, end in [(0, 1), (5, 5), (READ_BYTES - 1, READ_BYTES + 1), (len(LARGE) - 3, len(LARGE))]:
        assert await whole(blobs, name, start, end) == LARGE[start:end]
    sizes = [len(piece) async for piece in blobs.read(name, 0, len(LARGE))]
    assert len(sizes) == 3 and max(sizes) == READ_BYTES


async def test_the_nodes_of_the_tree_are_kept_beside_content_of_many_blocks(
    blobs: Blobs, place: Place
) -> None:
    name = await put(blobs, place, LARGE)
    cid = name.partition(".")[0]
    (root,) = load_blocks(await blobs.nodes(name), parse_cid(cid))
    assert root.cid == cid
    assert place.listed() == [place_of(name), f"{place_of(name)}.nodes"]
    await put(blobs, place, b"one block")
    assert len(place.listed()) == 3


async def test_deleting_leaves_nothing_and_may_be_done_again(blobs: Blobs, place: Place) -> None:
    name = await put(blobs, place, LARGE)
    await blobs.delete(name)
    await blobs.delete(name)
    assert place.listed() == []
    with pytest.raises(StorageDown):
        await whole(blobs, name, 0, 1)


async def test_a_late_deletion_does_not_hit_the_same_content_put_again(blobs: Blobs, place: Place) -> None:
    first = await put(blobs, place, b"hello")
    second = await put(blobs, place, b"hello")
    await blobs.delete(first)
    assert await whole(blobs, second, 0, 5) == b"hello"


async def test_content_that_cannot_be_put_leaves_nothing(blobs: Blobs, place: Place) -> None:
    async with staged(place, LARGE) as made:
        made.path.unlink()
        name = new_blob(made.dag.cid)
        with pytest.raises(StorageDown):
            await blobs.put(name, made)
    assert place_of(name) not in place.listed()
    await blobs.delete(name)
    assert place.listed() == []


async def test_the_place_tells_that_it_works(blobs: Blobs, place: Place) -> None:
    free_bytes = await blobs.free_bytes()
    assert free_bytes is None or free_bytes > 0


async def test_an_s3_that_is_not_there_or_has_no_bucket_is_down_and_no_crash(
    tmp_path: Path, s3: object
) -> None:
    config = {"access_key_id": "a", "secret_access_key": "b", "region": "us-east-1"}
    for endpoint in ("http://127.0.0.1:9", s3.url):  # type: ignore[attr-defined]
        options = StorageOptions(tmp_path, url="s3://nobody", s3={**config, "endpoint": endpoint})
        blobs, _ = choose_blobs(options)
        await blobs.open()
        with pytest.raises(StorageDown):
            await blobs.free_bytes()


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://", "s3:bucket", "file://elsewhere/x"])
def test_an_odd_place_is_one_sentence(tmp_path: Path, url: str) -> None:
    with pytest.raises(StartupError, match="STORAGE_URL"):
        choose_blobs(StorageOptions(tmp_path, url=url))


def test_a_folder_can_be_named_as_a_path_and_as_a_url(tmp_path: Path) -> None:
    for url in (str(tmp_path / "a b"), f"file://{tmp_path}/a%20b"):
        blobs, staging = choose_blobs(StorageOptions(tmp_path, url=url))
        assert (blobs.shown, staging) == (str(tmp_path / "a b"), tmp_path / "a b" / "staging")


async def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    blobs, _ = choose_blobs(StorageOptions(tmp_path, url=str(tmp_path / "file" / "below")))
    with pytest.raises(StartupError, match="cannot be used"):
        await blobs.open()
