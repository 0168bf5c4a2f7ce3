"""What every backend of caches does, over real servers."""

import asyncio
import time
from typing import Any

import pytest

from shared.caches.base import Caches
from shared.caches.errors import (
    CacheFull,
    CacheIdTaken,
    NoSuchCache,
    NoSuchKey,
    OperationsUsedUp,
)
from shared.errors import BadRequest, GalaksioError, JobUndone
from tests.shared.caches.conftest import MAX_BYTES, job_id, new_id


async def all_keys(caches: Caches, cache_id: str, limit: int = 7, prefix: str = "") -> list[str]:
    keys: list[str] = []
    cursor = None
    while True:
        page = await caches.list_keys(cache_id, cursor, limit, prefix)
        assert len(page.keys) <= limit
        keys += page.keys
        cursor = page.cursor
        if cursor is None:
            return keys


def nearly(ttl_s: int | None, set_s: int) -> bool:
    """Whether a key that was set to live for `set_s` a moment ago still has that long."""
    return ttl_s is not None and set_s - 20 <= ttl_s <= set_s


async def gone(caches: Caches, cache_id: str, key: str) -> None:
    """Wait for a key whose time is short."""
    deadline = time.monotonic() + 20
    while await caches.get(cache_id, key) is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "value",
    [
        {"name": "Alice", "nested": [1, 2.5, None, True, {"deep": "é"}]},
        [],
        0,
        -1.5,
        12345678901234567890123,
        True,
        None,
        "",
        "text",
        "123",
        "true",
        "null",
        '{"not": "an object"}',
        '"quoted"',
        " padded ",
        "line\nline\0\u2028",
        "NaN",
        "1e999",
        "🐘" * 1000,
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_any_json_comes_back_as_it_was(caches: Caches, cache_id: str, value: Any) -> None:
    await caches.set(cache_id, "key", value)
    entry = await caches.get(cache_id, "key")
    assert entry is not None
    assert (entry.key, entry.value, type(entry.value), entry.ttl_s) == ("key", value, type(value), None)


@pytest.mark.parametrize(
    "value",
    [float("nan"), [float("inf")], "\ud800", {"a": ["\udfff"]}],
    ids=["nan", "infinity", "half a character", "half a character inside"],
)
async def test_what_is_no_json_is_refused_and_not_counted(caches: Caches, cache_id: str, value: Any) -> None:
    with pytest.raises(BadRequest) as refused:
        await caches.set(cache_id, "key", value)
    assert refused.value.code == "invalid_value"
    assert (await caches.info(cache_id)).operations_left == 10_000


async def test_very_deep_nesting_is_refused(caches: Caches, cache_id: str) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BadRequest):
        await caches.set(cache_id, "key", deep)
    await caches.set(cache_id, "key", "[" * 100_000)
    entry = await caches.get(cache_id, "key")
    assert entry is not None and entry.value == "[" * 100_000


async def test_a_value_has_a_limit_that_it_may_reach(caches: Caches, cache_id: str) -> None:
    longest = "x" * caches.value_max_bytes
    await caches.set(cache_id, "key", longest)
    entry = await caches.get(cache_id, "key")
    assert entry is not None and entry.value == longest
    with pytest.raises(GalaksioError) as refused:
        await caches.set(cache_id, "key", longest + "x")
    assert (refused.value.status, refused.value.code) == (413, "value_too_large")


@pytest.mark.parametrize(
    "key",
    ["user:123", "..", "/", "%2F", "a/../b", "a b", "ключ", "{x}:k:y", "*", "[a-z]?", "k" * 512, "é" * 256],
)
async def test_a_key_is_any_text(caches: Caches, cache_id: str, key: str) -> None:
    await caches.set(cache_id, key, {"of": key})
    entry = await caches.get(cache_id, key)
    assert entry is not None and entry.value == {"of": key}
    assert await all_keys(caches, cache_id) == [key]
    assert await caches.delete_key(cache_id, key)
    assert await all_keys(caches, cache_id) == []


@pytest.mark.parametrize("key", ["", "k" * 513, "é" * 257, "a\0b", "a\nb", "\x7f", "\x85", "\ud800"])
async def test_a_key_that_cannot_be_is_refused_and_not_counted(
    caches: Caches, cache_id: str, key: str
) -> None:
    for call in (
        caches.get(cache_id, key),
        caches.set(cache_id, key, 1),
        caches.delete_key(cache_id, key),
        caches.ttl(cache_id, key),
        caches.update_ttl(cache_id, key, 5),
    ):
        with pytest.raises(BadRequest) as refused:
            await call
        assert refused.value.code == "invalid_key"
    assert (await caches.info(cache_id)).operations_left == 10_000


async def test_a_ttl_is_told_changed_and_taken_away(caches: Caches, cache_id: str) -> None:
    await caches.set(cache_id, "key", 1, 3600)
    entry = await caches.get(cache_id, "key")
    assert entry is not None and nearly(entry.ttl_s, 3600)
    await caches.update_ttl(cache_id, "key", 60)
    assert nearly(await caches.ttl(cache_id, "key"), 60)
    await caches.update_ttl(cache_id, "key", None)
    assert await caches.ttl(cache_id, "key") is None
    await caches.set(cache_id, "key", 1, 60)
    await caches.set(cache_id, "key", 1)
    assert await caches.ttl(cache_id, "key") is None
    await caches.update_ttl(cache_id, "key", 10 * 365 * 86_400)
    entry = await caches.get(cache_id, "key")
    assert entry is not None and nearly(entry.ttl_s, 10 * 365 * 86_400)
    for ttl_s in (0, -1, 10 * 365 * 86_400 + 1):
        with pytest.raises(BadRequest):
            await caches.set(cache_id, "key", 1, ttl_s)
    with pytest.raises(NoSuchKey):
        await caches.ttl(cache_id, "other")
    with pytest.raises(NoSuchKey):
        await caches.update_ttl(cache_id, "other", 5)


async def test_a_key_goes_when_its_time_is_over_and_takes_its_bytes_along(
    caches: Caches, cache_id: str
) -> None:
    await caches.set(cache_id, "short", "x" * 1000, 1)
    await caches.set(cache_id, "long", 1, 3600)
    await gone(caches, cache_id, "short")
    assert await all_keys(caches, cache_id) == ["long"]
    assert not await caches.delete_key(cache_id, "short")
    with pytest.raises(NoSuchKey):
        await caches.ttl(cache_id, "short")
    await caches.delete_key(cache_id, "long")
    assert (await caches.info(cache_id)).used_bytes == 0


async def test_deleting_says_whether_there_was_such_a_key(caches: Caches, cache_id: str) -> None:
    await caches.set(cache_id, "key", 1)
    assert await caches.delete_key(cache_id, "key")
    assert not await caches.delete_key(cache_id, "key")
    assert await caches.get(cache_id, "key") is None


async def test_a_list_names_every_key_once_page_by_page(caches: Caches, cache_id: str) -> None:
    wanted = {f"{prefix}:{number}" for prefix in ("a", "b", "b*", "") for number in range(20)}
    for key in wanted:
        await caches.set(cache_id, key, 1)
    found = await all_keys(caches, cache_id)
    assert (set(found), len(found)) == (wanted, len(wanted))
    assert set(await all_keys(caches, cache_id, 3, "b:")) == {key for key in wanted if key.startswith("b:")}
    assert set(await all_keys(caches, cache_id, 3, "b*")) == {key for key in wanted if key.startswith("b*")}
    assert await all_keys(caches, cache_id, 3, "none") == []


async def test_keys_that_stay_are_listed_although_others_come_and_go(caches: Caches, cache_id: str) -> None:
    staying = {f"stay{number}" for number in range(40)}
    for key in staying:
        await caches.set(cache_id, key, 1)
    found: list[str] = []
    cursor, turn = None, 0
    while turn == 0 or cursor is not None:
        page = await caches.list_keys(cache_id, cursor, 5)
        found += page.keys
        cursor, turn = page.cursor, turn + 1
        await caches.set(cache_id, f"stay{turn}-new", 1)
        if page.keys and "-new" in page.keys[-1]:
            await caches.delete_key(cache_id, page.keys[-1])
    old = [key for key in found if "-new" not in key]
    assert (set(old), len(old)) == (staying, len(staying))


async def test_a_cursor_that_was_made_up_is_refused_or_ends(caches: Caches, cache_id: str) -> None:
    await caches.set(cache_id, "key", 1)
    for cursor in ("", "!", "x" * 5000, "é"):
        with pytest.raises(BadRequest) as refused:
            await caches.list_keys(cache_id, cursor)
        assert refused.value.code == "invalid_cursor"
    for limit in (0, -1, 1001):
        with pytest.raises(BadRequest):
            await caches.list_keys(cache_id, None, limit)


async def test_every_operation_counts_one_and_finding_nothing_too(caches: Caches, cache_id: str) -> None:
    calls: list[Any] = [
        lambda: caches.set(cache_id, "key", 1),
        lambda: caches.get(cache_id, "key"),
        lambda: caches.get(cache_id, "none"),
        lambda: caches.ttl(cache_id, "key"),
        lambda: caches.update_ttl(cache_id, "key", 60),
        lambda: caches.list_keys(cache_id),
        lambda: caches.delete_key(cache_id, "key"),
        lambda: caches.delete_key(cache_id, "key"),
    ]
    for number, call in enumerate(calls, 1):
        await call()
        assert (await caches.info(cache_id)).operations_left == 10_000 - number
    page = await caches.list_keys(cache_id)
    assert page.operations_left == 10_000 - len(calls) - 1
    with pytest.raises(NoSuchKey):
        await caches.ttl(cache_id, "none")
    assert (await caches.info(cache_id)).operations_left == page.operations_left - 1


async def test_fifty_parallel_clients_use_exactly_what_was_bought(caches: Caches) -> None:
    cache_id = (await caches.create(new_id(), "us-east-1", 300, None)).cache_id

    async def client(number: int) -> int:
        done = 0
        for _ in range(10):
            try:
                await caches.get(cache_id, f"key{number}")
                done += 1
            except OperationsUsedUp:
                pass
        return done

    assert sum(await asyncio.gather(*(client(number) for number in range(50)))) == 300
    assert (await caches.info(cache_id)).operations_left == 0


async def test_used_up_operations_are_refused_without_doing_the_work_until_more_are_bought(
    caches: Caches,
) -> None:
    cache_id = (await caches.create(new_id(), "us-east-1", 1, None)).cache_id
    await caches.set(cache_id, "key", 1)
    for call in (
        caches.set(cache_id, "key", 2),
        caches.get(cache_id, "key"),
        caches.delete_key(cache_id, "key"),
        caches.ttl(cache_id, "key"),
        caches.update_ttl(cache_id, "key", 1),
        caches.list_keys(cache_id),
    ):
        with pytest.raises(OperationsUsedUp):
            await call
    info = await caches.add_operations(cache_id, 2, "payment-1")
    assert info.operations_left == 2
    again = await asyncio.gather(*(caches.add_operations(cache_id, 2, "payment-1") for _ in range(10)))
    assert {found.operations_left for found in again} == {2}
    entry = await caches.get(cache_id, "key")
    assert entry is not None and (entry.value, entry.ttl_s) == (1, None)
    assert (await caches.add_operations(cache_id, 5, "payment-2")).operations_left == 6


async def test_operations_whose_payment_came_to_nothing_are_taken_back_and_never_added_later(
    caches: Caches,
) -> None:
    cache_id = (await caches.create(new_id(), "us-east-1", 10, None, job_id())).cache_id
    unpaid = job_id()
    assert (await caches.add_operations(cache_id, 5, job_id())).operations_left == 15
    assert (await caches.add_operations(cache_id, 7, unpaid)).operations_left == 22
    await caches.set(cache_id, "key", 1)
    await asyncio.gather(*(caches.undo(unpaid) for _ in range(5)))
    assert (await caches.info(cache_id)).operations_left == 14
    for job in (unpaid, job_id()):
        await caches.undo(job)
        with pytest.raises(JobUndone):
            await caches.add_operations(cache_id, 7, job)
    assert (await caches.info(cache_id)).operations_left == 14
    entry = await caches.get(cache_id, "key")
    assert entry is not None and entry.value == 1


async def test_making_a_cache_twice_makes_one(caches: Caches) -> None:
    cache_id = new_id()
    first = await caches.create(cache_id, "eu-west-1", 10, 3600)
    assert (first.cache_id, first.region, first.operations_left) == (cache_id, "eu-west-1", 10)
    assert first.expires_at == pytest.approx(time.time() + 3600, abs=20)
    await caches.set(cache_id, "key", 1)
    again = await caches.create(cache_id, "us-east-1", 99, None)
    assert (again.region, again.operations_left) == ("eu-west-1", 9)
    assert (again.created_at, again.expires_at) == (first.created_at, first.expires_at)
    for bad in ("", "a" * 65, "a/b", "{a}", "a b", "é"):
        with pytest.raises(BadRequest):
            await caches.create(bad, "us-east-1", 10, None)
        with pytest.raises(NoSuchCache):
            await caches.get(bad, "key")


async def test_a_deleted_cache_is_gone_with_all_its_keys(caches: Caches) -> None:
    cache_id = (await caches.create(new_id(), "us-east-1", 10_000, None)).cache_id
    for number in range(50):
        await caches.set(cache_id, f"key{number}", number)
    await caches.delete(cache_id)
    for call in (
        caches.get(cache_id, "key1"),
        caches.set(cache_id, "key1", 1),
        caches.info(cache_id),
        caches.list_keys(cache_id),
        caches.add_operations(cache_id, 5, "p"),
    ):
        with pytest.raises(NoSuchCache):
            await call
    await caches.delete(cache_id)
    await caches.create(cache_id, "us-east-1", 10_000, None)
    assert await all_keys(caches, cache_id) == []
    assert await caches.get(cache_id, "key1") is None
    assert (await caches.info(cache_id)).used_bytes == 0


async def test_a_cache_whose_time_is_over_is_gone(caches: Caches) -> None:
    cache_id = (await caches.create(new_id(), "us-east-1", 10_000, 1)).cache_id
    deadline = time.monotonic() + 20
    with pytest.raises(NoSuchCache):
        await caches.set(cache_id, "key", 1)
        while time.monotonic() < deadline:
            await caches.get(cache_id, "key")
            await asyncio.sleep(0.05)


async def test_caches_do_not_see_each_others_keys(caches: Caches, cache_id: str) -> None:
    other = (await caches.create(new_id(), "us-east-1", 10_000, None)).cache_id
    await caches.set(cache_id, "key", "mine")
    assert await caches.get(other, "key") is None
    assert not await caches.delete_key(other, "key")
    assert await all_keys(caches, other) == []
    await caches.delete(other)
    entry = await caches.get(cache_id, "key")
    assert entry is not None and entry.value == "mine"


async def test_undoing_a_job_removes_the_cache_it_made_and_makes_it_make_none(caches: Caches) -> None:
    job, cache_id = job_id(), new_id()
    await caches.create(cache_id, "us-east-1", 10, None, job)
    await caches.create(cache_id, "us-east-1", 10, None, job)
    await caches.set(cache_id, "key", 1)
    await caches.undo(job)
    with pytest.raises(NoSuchCache):
        await caches.get(cache_id, "key")
    for another in (cache_id, new_id()):
        with pytest.raises(JobUndone):
            await caches.create(another, "us-east-1", 10, None, job)
        with pytest.raises(NoSuchCache):
            await caches.info(another)
    await caches.undo(job)
    await caches.undo(job_id())


async def test_undoing_while_the_job_runs_leaves_no_cache(
    caches: Caches, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: Any = caches
    check = backend._check_not_undone

    async def undone_right_after(job: str, made: str | None = None) -> None:
        await check(job, made)
        await caches.undo(job)

    monkeypatch.setattr(caches, "_check_not_undone", undone_right_after)
    cache_id = new_id()
    with pytest.raises(JobUndone):
        await caches.create(cache_id, "us-east-1", 10, None, job_id())
    with pytest.raises(NoSuchCache):
        await caches.info(cache_id)


async def test_a_job_can_neither_take_nor_undo_the_cache_of_another(caches: Caches) -> None:
    cache_id, thief = new_id(), job_id()
    await caches.create(cache_id, "us-east-1", 10, None, job_id())
    for job in (thief, None):
        with pytest.raises(CacheIdTaken):
            await caches.create(cache_id, "us-east-1", 10, None, job)
    await caches.undo(thief)
    assert (await caches.info(cache_id)).operations_left == 10


async def test_a_full_cache_takes_nothing_more_until_there_is_room(caches: Caches, cache_id: str) -> None:
    part = "x" * 500_000
    kept = 0
    with pytest.raises(CacheFull):
        for kept in range(20):
            await caches.set(cache_id, f"key{kept}", part)
    assert 6 <= kept <= MAX_BYTES // len(part)
    assert (await caches.info(cache_id)).used_bytes <= MAX_BYTES
    await caches.set(cache_id, "key0", "x" * 400_000)
    with pytest.raises(CacheFull):
        await caches.set(cache_id, "new", part)
    assert await caches.get(cache_id, "new") is None
    await caches.delete_key(cache_id, "key0")
    await caches.set(cache_id, "new", "x" * 400_000)


async def test_keys_whose_time_is_over_make_room(caches: Caches, cache_id: str) -> None:
    for number in range(30):
        await caches.set(cache_id, f"key{number}", "x" * 130_000, 1)
    await gone(caches, cache_id, "key29")
    await caches.set(cache_id, "new", "x" * 900_000)
    assert await all_keys(caches, cache_id) == ["new"]


async def test_many_keys_set_at_once_are_all_there_and_counted(caches: Caches, cache_id: str) -> None:
    await asyncio.gather(*(caches.set(cache_id, f"key{number}", number) for number in range(60)))
    assert len(await all_keys(caches, cache_id, 100)) == 60
    await asyncio.gather(*(caches.delete_key(cache_id, f"key{number}") for number in range(60)))
    assert (await caches.info(cache_id)).used_bytes == 0
