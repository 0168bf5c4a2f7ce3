"""Who keeps content until when, over both databases and with several executors at once."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, select

from executor.storage.errors import Expired, NoSuchUpload, NotStored, StorageDown, StorageFull
from executor.storage.places import ARRIVAL_S
from executor.storage.rows import Hold, lock_blob
from executor.storage.storage import Storage
from executor.storage.sweeper import REMEMBER_S
from executor.storage.tables import blobs, holds
from shared.errors import Conflict, GalaksioError, JobUndone
from shared.store import StoreRequest
from tests.executor.conftest import until
from tests.executor.storage.conftest import MB, Now, Place, chunks, folder_place, storage_at_rest

HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
"""The CID of `hello world` without a newline, as `ipfs add --cid-version=1` prints it."""


def store(storage: Storage, job_id: str, data: str = "hello world", **fields: Any) -> Any:
    return storage.store(job_id, StoreRequest(data=data, **fields))


async def text(storage: Storage, cid: str) -> str:
    found = await storage.find(cid)
    return b"".join([piece async for piece in storage.read(found, 0, found.size_bytes)]).decode()


async def is_gone(storage: Storage, cid: str, error: type[Exception] = NotStored) -> bool:
    try:
        await storage.find(cid)
    except error:
        return True
    return False


async def rows(storage: Storage, table: Any) -> list[Any]:
    return await storage._database.read(lambda connection: list(connection.execute(select(table)).all()))


async def test_stored_content_has_its_cid_and_is_read_back(storage: Storage) -> None:
    hold = await store(storage, "job", filename="a.txt")
    assert (hold.cid, hold.size_bytes, hold.name, hold.permanent) == (HELLO, 11, "a.txt", False)
    assert await text(storage, HELLO) == "hello world"


async def test_the_same_job_asked_again_is_the_same_hold(storage: Storage, now: Now) -> None:
    first = await store(storage, "job", ttl_s=100)
    now.seconds += 50
    assert await store(storage, "job", ttl_s=100) == first
    assert len(await rows(storage, holds)) == 1


async def test_the_same_content_is_kept_once_for_any_number_of_payers(
    storage: Storage, other: Storage, kept: Place
) -> None:
    jobs = [store((storage, other)[n % 2], f"job-{n}") for n in range(20)]
    assert {hold.cid for hold in await asyncio.gather(*jobs)} == {HELLO}
    await storage.sweep()
    assert len(kept.listed()) == 1
    assert len(await rows(storage, holds)) == 20
    assert await storage._places.used_bytes() == 11


async def test_temporary_content_is_410_when_its_time_is_over_and_swept(
    storage: Storage, now: Now, kept: Place
) -> None:
    await store(storage, "job", ttl_s=60)
    now.seconds += 59
    assert (await storage.find(HELLO)).expires_at == now.seconds + 1
    now.seconds += 1
    assert await is_gone(storage, HELLO, Expired)  # before any sweep
    assert len(kept.listed()) == 1
    await storage.sweep()
    assert await is_gone(storage, HELLO, Expired)
    assert kept.listed() == []
    assert await storage._places.used_bytes() == 0
    now.seconds += REMEMBER_S + 1
    await storage.sweep()
    assert await is_gone(storage, HELLO, NotStored)
    assert await rows(storage, holds) == []


async def test_permanent_content_outlives_every_sweep(storage: Storage, now: Now) -> None:
    await store(storage, "job", permanent=True)
    now.seconds += 20 * 365 * 86_400
    await storage.sweep()
    assert (await storage.find(HELLO)).permanent
    assert await text(storage, HELLO) == "hello world"


async def test_the_sweeper_keeps_what_another_payer_holds(storage: Storage, now: Now) -> None:
    await store(storage, "short", ttl_s=60, filename="first.txt")
    now.seconds += 1
    await store(storage, "long", ttl_s=600, filename="second.txt")
    found = await storage.find(HELLO)
    assert (found.name, found.expires_at) == ("first.txt", now.seconds + 600)
    now.seconds += 60
    await storage.sweep()
    assert await text(storage, HELLO) == "hello world"
    assert (await storage.find(HELLO)).name == "second.txt"
    now.seconds += 600
    await storage.sweep()
    assert await is_gone(storage, HELLO, Expired)


async def test_an_undone_job_leaves_nothing_and_never_stores_again(
    storage: Storage, other: Storage, kept: Place
) -> None:
    await store(storage, "job")
    await other.undo("job")
    await storage.undo("job")
    assert await is_gone(storage, HELLO, NotStored)
    assert kept.listed() == []
    with pytest.raises(JobUndone) as caught:
        await store(storage, "job")
    assert (caught.value.status, caught.value.code) == (409, "job_undone")
    assert kept.listed() == []


async def test_undoing_one_payer_leaves_the_content_to_the_other(storage: Storage) -> None:
    await store(storage, "refused")
    await store(storage, "paid")
    await storage.undo("refused")
    await storage.sweep()
    assert await text(storage, HELLO) == "hello world"


async def test_a_job_undone_before_it_came_stores_nothing(storage: Storage, kept: Place, now: Now) -> None:
    upload = await storage.upload(chunks(b"hello world"))
    await storage.undo("job")
    for request in (StoreRequest(data="hello world"), StoreRequest(upload=upload.id)):
        with pytest.raises(JobUndone):
            await storage.store("job", request)
    now.seconds += 3601
    await storage.sweep()
    assert kept.listed() == []


async def test_of_a_store_and_its_undoing_at_the_same_time_nothing_remains(
    storage: Storage, other: Storage, kept: Place
) -> None:
    for n in range(30):
        stored = asyncio.create_task(store(storage, f"job-{n}", data=f"content {n}"))
        await asyncio.sleep(random.uniform(0, 0.01))
        await other.undo(f"job-{n}")
        await asyncio.wait({stored})
        assert stored.exception() is None or isinstance(stored.exception(), JobUndone)
    await storage.sweep()
    assert kept.listed() == []
    assert await rows(storage, blobs) == []


async def test_an_upload_waits_unseen_until_a_job_stores_it(storage: Storage, now: Now) -> None:
    upload = await storage.upload(chunks(b"hello world"))
    assert (upload.cid, upload.size_bytes, upload.expires_at) == (HELLO, 11, now.seconds + 3600)
    assert await is_gone(storage, HELLO, NotStored)
    hold = await storage.store("job", StoreRequest(upload=upload.id, filename="x.png"))
    assert (hold.cid, hold.size_bytes, hold.content_type) == (HELLO, 11, "image/png")
    assert hold.sha256 == upload.sha256
    assert await text(storage, HELLO) == "hello world"
    assert await storage.store("job", StoreRequest(upload=upload.id)) == hold
    with pytest.raises(NoSuchUpload):
        await storage.store("another", StoreRequest(upload=upload.id))


async def test_an_upload_that_nobody_stores_expires_and_one_can_be_dropped(
    storage: Storage, now: Now, kept: Place
) -> None:
    forgotten = await storage.upload(chunks(b"hello world"))
    dropped = await storage.upload(chunks(b"other"))
    await storage.drop_upload(dropped.id)
    await storage.drop_upload(dropped.id)
    assert len(kept.listed()) == 1
    now.seconds += 3600
    with pytest.raises(NoSuchUpload):
        await storage.store("job", StoreRequest(upload=forgotten.id))
    await storage.sweep()
    assert kept.listed() == []
    assert await is_gone(storage, HELLO, NotStored)


async def test_what_a_job_holds_cannot_be_dropped_as_an_upload_nor_an_upload_undone(storage: Storage) -> None:
    await store(storage, "job")
    await storage.drop_upload("job")
    assert await text(storage, HELLO) == "hello world"
    upload = await storage.upload(chunks(b"other"))
    with pytest.raises(Conflict):
        await storage.undo(upload.id)
    await storage.store("another", StoreRequest(upload=upload.id))


async def test_content_that_comes_back_while_it_is_swept_is_there(
    storage: Storage, other: Storage, now: Now, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweeper has marked the content and is about to delete it when somebody stores it again."""
    await store(storage, "first", ttl_s=60)
    now.seconds += 61
    delete = other._blobs.delete

    async def overtaken(name: str) -> None:
        await store(storage, "second", ttl_s=600)
        await delete(name)
        await delete(name)  # and once more, by an executor that was held up

    monkeypatch.setattr(other._blobs, "delete", overtaken)
    await other.sweep()
    assert await text(storage, HELLO) == "hello world"
    assert await storage._places.used_bytes() == 11


async def test_a_new_hold_and_the_end_of_the_last_one_wait_for_each_other(
    storage: Storage, other: Storage, database_url: str | None
) -> None:
    """Each in the middle of its transaction when the other one comes."""
    if database_url is None:
        pytest.skip("SQLite has one writer at a time")
    first = await store(storage, "first")
    engine = other._database._store._engine  # type: ignore[union-attr]
    async with engine.begin() as connection:
        await connection.run_sync(lock_blob, HELLO)
        await connection.run_sync(other._holds.add, replace(first, id="second"))
        ending = asyncio.create_task(storage.undo("first"))
        await asyncio.sleep(0.3)
        assert not ending.done()
    await ending
    assert await text(storage, HELLO) == "hello world"
    async with engine.begin() as connection:
        await connection.run_sync(lambda one: one.execute(delete(holds).where(holds.c.id == "second")))
        await connection.run_sync(other._holds._let_go, [HELLO])
        joining = asyncio.create_task(store(storage, "third"))
        await asyncio.sleep(0.3)
        assert not joining.done()
    await joining
    await storage.sweep()
    assert await text(storage, HELLO) == "hello world"


async def test_executors_that_sweep_together_do_not_stand_in_each_others_way(
    storage: Storage, other: Storage, now: Now, kept: Place
) -> None:
    await asyncio.gather(*(store(storage, f"job-{n}", data=str(n % 30), ttl_s=60) for n in range(90)))
    now.seconds += 61
    await asyncio.gather(*(one.sweep() for one in (storage, other) * 3))
    await storage.sweep()
    assert kept.listed() == []
    assert await storage._places.used_bytes() == 0


async def test_stores_and_sweeps_in_any_order_never_lose_held_content(
    storage: Storage, other: Storage, kept: Place
) -> None:
    """Payers of one content come and are undone while both executors sweep. Whoever holds it can read it."""
    executors, held, ended = (storage, other), set[str](), asyncio.Event()

    async def sweeping(one: Storage) -> None:
        while not ended.is_set():
            await one.sweep()
            await asyncio.sleep(0)

    async def payer(n: int) -> None:
        for turn in range(8):
            job_id, one = f"job-{n}-{turn}", random.choice(executors)
            await store(one, job_id)
            held.add(job_id)
            assert await text(random.choice(executors), HELLO) == "hello world"
            held.discard(job_id)
            await random.choice(executors).undo(job_id)

    sweepers = [asyncio.create_task(sweeping(one)) for one in executors]
    await asyncio.gather(*(payer(n) for n in range(6)))
    ended.set()
    await asyncio.gather(*sweepers)
    await storage.sweep()
    assert kept.listed() == []
    assert await storage._places.used_bytes() == 0


@pytest.fixture
async def bounded(kept: Place, now: Now, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Storage]:
    place = folder_place(kept.options.home, max_bytes=100, database_url=kept.options.database_url)
    async with storage_at_rest(place, now, monkeypatch) as made:
        yield made


async def test_the_quota_holds_however_many_come_at_once(kept: Place, now: Now, bounded: Storage) -> None:
    assert bounded.health.free_bytes == 100
    came = await asyncio.gather(
        *(store(bounded, f"job-{n}", data=f"{n:030}", ttl_s=60) for n in range(10)), return_exceptions=True
    )
    assert sum(isinstance(one, StorageFull) for one in came) == 7
    assert sum(isinstance(one, Hold) for one in came) == 3
    assert len(kept.listed()) == 3
    with pytest.raises(StorageFull):
        await bounded.upload(chunks(bytes(11)), 11)
    assert bounded.health.free_bytes == 10
    now.seconds += 61
    await bounded.sweep()
    await store(bounded, "later", data="there is room again")


async def test_a_put_that_fails_leaves_nothing_and_can_be_sent_again(
    storage: Storage, kept: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise StorageDown("no")

    with monkeypatch.context() as patch:
        patch.setattr(storage._blobs, "put", broken)
        with pytest.raises(StorageDown):
            await store(storage, "job")
    assert await is_gone(storage, HELLO, NotStored)
    await storage.sweep()
    assert (await rows(storage, blobs), await storage._places.used_bytes()) == ([], 0)
    await store(storage, "job")


async def test_a_place_that_is_gone_is_told_and_looked_for_until_it_is_back(
    storage: Storage, now: Now, kept: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: object) -> None:
        raise StorageDown("no")

    await storage.close()
    monkeypatch.setattr("executor.storage.storage.SWEEP_EVERY_S", 0.01)
    again = Storage(kept.options, now)
    await again.open()
    await store(again, "job", ttl_s=60)
    with monkeypatch.context() as patch:
        patch.setattr(again._blobs, "delete", gone)
        patch.setattr(again._blobs, "free_bytes", gone)
        now.seconds += 61
        assert await until(lambda: again.health.reason.endswith("does not answer"))
        assert len(kept.listed()) == 1
    assert await until(lambda: not again.health.reason and not kept.listed())
    await again.close()


async def test_what_a_dead_executor_was_putting_in_place_is_given_up(
    storage: Storage, now: Now, kept: Place
) -> None:
    """On the machine where it died at once; elsewhere after the longest time that a put may take."""
    await storage._places.begin(HELLO, 11)
    await storage._places.give_up_dead(["somebody else"])
    assert [row.state for row in await rows(storage, blobs)] == ["arriving"]
    await storage._places.give_up_dead([storage._places._owner])
    assert [row.state for row in await rows(storage, blobs)] == ["leaving"]
    await storage._places.begin(HELLO, 11)
    now.seconds += ARRIVAL_S + 1
    await storage.sweep()
    assert await rows(storage, blobs) == []


async def test_too_many_uploads_at_once_are_told_to_come_again(
    kept: Place, now: Now, storage: Storage
) -> None:
    begun = asyncio.Event()

    async def slow() -> Any:
        begun.set()
        await asyncio.sleep(60)
        yield b""

    narrow = Storage(
        folder_place(kept.options.home, uploads=1, database_url=kept.options.database_url).options, now
    )
    await narrow.open()
    first = asyncio.create_task(narrow.upload(slow()))
    await begun.wait()
    with pytest.raises(GalaksioError) as caught:
        await narrow.upload(chunks(b"x"))
    assert (caught.value.status, caught.value.code) == (503, "uploads_busy")
    assert "Retry-After" in caught.value.headers
    first.cancel()
    await asyncio.wait({first})
    await narrow.upload(chunks(b"x"))
    await narrow.close()


@pytest.mark.parametrize(
    "request_of",
    [
        lambda upload_id: StoreRequest(data="hello world", max_bytes=10),
        lambda upload_id: StoreRequest(upload=upload_id, max_bytes=10),
    ],
    ids=["data", "upload"],
)
async def test_more_than_was_paid_for_is_413(
    storage: Storage, request_of: Callable[[str], StoreRequest]
) -> None:
    upload = await storage.upload(chunks(b"hello world"))
    with pytest.raises(GalaksioError) as caught:
        await storage.store("job", request_of(upload.id))
    assert (caught.value.status, caught.value.code) == (413, "content_too_large")
    assert await is_gone(storage, HELLO, NotStored)


async def test_large_content_is_kept_with_the_nodes_of_its_tree(storage: Storage, kept: Place) -> None:
    upload = await storage.upload(chunks(bytes(2 * MB)))
    await storage.store("job", StoreRequest(upload=upload.id))
    found = await storage.find(upload.cid)
    assert [block.cid for block in await storage.nodes(found)] == [upload.cid]
    (damaged,) = [path for path in kept.listed() if path.endswith(".nodes")]
    path = kept.options.home / "content" / damaged
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(StorageDown, match="damaged"):
        await storage.nodes(found)
