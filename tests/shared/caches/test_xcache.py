"""Caches at xcache: what it is asked, and every answer that is none."""

import gzip
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import respx

from shared.caches.base import Entry
from shared.caches.command import Command
from shared.caches.errors import CacheUnavailable, NoSuchCache, NoSuchKey, OperationsGone
from shared.caches.router import backend_of, open_caches
from shared.caches.xcache import MAX_ANSWER_BYTES, XcacheCaches, id_of_xcache, is_own_id
from shared.errors import BadRequest, GalaksioError
from tests.support.standin import DROPPED, Answer, StandIn

BASE = "https://api.xcache.io"
OWN = "96ad0856-03b1-4ee7-9666-e81abd0349e1"
ID = f"xc{OWN}"
URL = f"{BASE}/{OWN}"
ENTRY = {"key": "k", "value": 1, "ttl": 9}


@pytest.fixture
async def xcache() -> AsyncIterator[XcacheCaches]:
    made = XcacheCaches(BASE)
    yield made
    await made.close()


class Local(StandIn):
    """One answer to everybody."""

    def __init__(self) -> None:
        super().__init__()
        self.said = Answer.of(ENTRY)
        self.paths: list[str] = []

    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        self.paths.append(path)
        return self.said


@pytest.fixture
def local() -> Iterator[Local]:
    made = Local()
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def here(local: Local) -> AsyncIterator[XcacheCaches]:
    made = XcacheCaches(local.url)
    yield made
    await made.close()


@respx.mock
async def test_each_operation_is_asked_as_xcache_has_it(xcache: XcacheCaches) -> None:
    get = respx.get(f"{URL}/k").respond(200, json=ENTRY)
    put = respx.put(f"{URL}/k").respond(200, json=ENTRY)
    delete = respx.delete(f"{URL}/k").respond(200, json={"message": "gone"})
    ttl = respx.get(f"{URL}/k/ttl").respond(200, json={"key": "k", "ttl": 8.2, "unit": "seconds"})
    update = respx.put(f"{URL}/k/ttl").respond(200, json={"key": "k", "ttl": 7})
    respx.get(URL).respond(200, json={"keys": ["k", "l"], "count": 2, "operations": 49_990})
    assert await xcache.get(ID, "k") == Entry("k", 1, 9)
    await xcache.set(ID, "k", {"a": [None]}, 60)
    assert json.loads(put.calls.last.request.content) == {"value": {"a": [None]}, "ttl": 60}
    await xcache.set(ID, "k", None)
    assert json.loads(put.calls.last.request.content) == {"value": None}
    assert await xcache.delete_key(ID, "k")
    assert await xcache.ttl(ID, "k") == 9
    await xcache.update_ttl(ID, "k", 7)
    assert json.loads(update.calls.last.request.content) == {"ttl": 7}
    page = await xcache.list_keys(ID, limit=1)
    assert (page.keys, page.cursor, page.operations_left) == (["k", "l"], None, 49_990)
    assert [route.call_count for route in (get, delete, ttl)] == [1, 1, 1]


async def test_a_key_is_one_part_of_the_path_whatever_it_is(local: Local, here: XcacheCaches) -> None:
    for key in ("a/b", "../x", "a?b=c#d", "a%2Fb", "k/ttl", "é 1", "...x"):
        await here.get(ID, key)
    assert local.paths == [
        f"/{OWN}/{key}"
        for key in ("a%2Fb", "..%2Fx", "a%3Fb%3Dc%23d", "a%252Fb", "k%2Fttl", "%C3%A9%201", "...x")
    ]
    for key in (".", "..", "", "a\nb", "x" * 513, "\ud800"):
        with pytest.raises(BadRequest):
            await here.get(ID, key)
    for cache_id in ("xc", "xc../create", "xca/b", f"xc{'x' * 61}", "", "xca b", "xc\n"):
        with pytest.raises(NoSuchCache):
            await here.get(cache_id, "k")
    assert len(local.paths) == 7


@respx.mock
@pytest.mark.parametrize(("said", "ttl_s"), [(None, None), (-1, None), (0, 0), (8.1, 9)])
async def test_a_ttl_in_any_of_its_spellings(xcache: XcacheCaches, said: Any, ttl_s: int | None) -> None:
    respx.get(f"{URL}/k").respond(200, json={**ENTRY, "ttl": said})
    respx.get(f"{URL}/k/ttl").respond(200, json={"ttl": said})
    entry = await xcache.get(ID, "k")
    assert entry is not None and entry.ttl_s == ttl_s == await xcache.ttl(ID, "k")


@respx.mock
async def test_what_is_not_there_is_told_as_everywhere(xcache: XcacheCaches) -> None:
    respx.route(host="api.xcache.io").respond(404, json={"error": "no"})
    assert await xcache.get(ID, "k") is None
    assert not await xcache.delete_key(ID, "k")
    for missing in (xcache.ttl(ID, "k"), xcache.update_ttl(ID, "k", 5)):
        with pytest.raises(NoSuchKey):
            await missing
    with pytest.raises(NoSuchCache):
        await xcache.list_keys(ID)
    respx.routes.clear()
    respx.get(f"{URL}/gone/ttl").respond(200, json={"ttl": -2})
    with pytest.raises(NoSuchKey):
        await xcache.ttl(ID, "gone")


@respx.mock
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(200, text="<html>hello</html>"), CacheUnavailable),
        (httpx.Response(200, json=[1]), CacheUnavailable),
        (httpx.Response(200, json={}), CacheUnavailable),
        (httpx.Response(200, json={"success": False, "value": 1, "ttl": 1, "keys": []}), CacheUnavailable),
        (
            httpx.Response(200, json={"value": 1, "ttl": "soon", "keys": "k", "operations": 1}),
            CacheUnavailable,
        ),
        (httpx.Response(200, json={"value": 1, "ttl": True, "keys": [1], "operations": 1}), CacheUnavailable),
        (httpx.Response(200, json={"value": 1, "ttl": -7, "keys": [], "operations": "9"}), CacheUnavailable),
        (httpx.Response(200, json={"value": 1, "ttl": [], "keys": [], "operations": True}), CacheUnavailable),
        (httpx.Response(200, content=b'{"value": NaN, "ttl": NaN}'), CacheUnavailable),
        (httpx.Response(200, content=b'{"value": "\\ud800"}'), CacheUnavailable),
        (httpx.Response(200, content=b'{"value":' + b"[" * 500), CacheUnavailable),
        (httpx.Response(301, headers={"Location": "http://127.0.0.1/"}), CacheUnavailable),
        (httpx.Response(401, json={}), CacheUnavailable),
        (httpx.Response(429, json={}), CacheUnavailable),
        (httpx.Response(500, text="Traceback"), CacheUnavailable),
        (httpx.Response(402, json={"accepts": []}), OperationsGone),
        (httpx.Response(400, json={"error": "their words"}), BadRequest),
    ],
)
async def test_an_answer_that_is_none(
    xcache: XcacheCaches, answer: httpx.Response, error: type[GalaksioError]
) -> None:
    respx.route(host="api.xcache.io").mock(return_value=answer)
    for asking in (xcache.get(ID, "k"), xcache.ttl(ID, "k"), xcache.list_keys(ID)):
        with pytest.raises(error) as failed:
            await asking
        assert "their words" not in failed.value.message and "Traceback" not in failed.value.message


async def test_answers_are_bounded_in_size_and_time(
    local: Local, here: XcacheCaches, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.said = Answer.of({**ENTRY, "value": "x" * 2_000_000})
    assert await here.get(ID, "k") is not None
    monkeypatch.setattr("shared.caches.xcache.TIMEOUT_S", 0.5)
    packed = gzip.compress(json.dumps(ENTRY).encode())
    for said in (
        Answer.of({**ENTRY, "value": "x" * MAX_ANSWER_BYTES}),
        Answer(body=packed, headers=(("Content-Encoding", "gzip"),)),
        Answer.of(ENTRY, drip_s=0.1),
        Answer.of(ENTRY, delay_s=5),
        DROPPED,
    ):
        local.said = said
        with pytest.raises(CacheUnavailable):
            await here.get(ID, "k")
    with local.down(), pytest.raises(CacheUnavailable):
        await here.get(ID, "k")


async def test_what_xcache_does_not_do_is_said_without_asking_it(local: Local, here: XcacheCaches) -> None:
    for asking in (
        here.list_keys(ID, cursor="x"),
        here.list_keys(ID, prefix="x"),
        here.list_keys(ID, limit=0),
        here.update_ttl(ID, "k", None),
        here.update_ttl(ID, "k", 0),
        here.set(ID, "k", float("nan")),
        here.set(ID, "k", 1, -5),
        here.create(ID, "us-east-1", 1, None),
        here.info(ID),
        here.delete(ID),
        here.add_operations(ID, 1, "job"),
    ):
        with pytest.raises(BadRequest):
            await asking
    await here.undo("job")
    await here.ping()
    assert await here.sweep() == 0 and local.paths == []


async def test_it_is_a_backend_like_the_others(local: Local) -> None:
    assert (backend_of(ID), id_of_xcache(OWN), is_own_id(OWN)) == ("xcache", ID, True)
    assert not any(map(is_own_id, (None, 7, "", "a/b", "x" * 61, "a\n")))
    caches = open_caches(None, None, 2**20, local.url)
    assert await caches.get(ID, "k") == Entry("k", 1, 9)
    with pytest.raises(BadRequest, match="xcache"):
        await caches.run(ID, [Command("PING", (), ())])
    await caches.close()
    without = open_caches(None, None, 2**20)
    with pytest.raises(CacheUnavailable, match="REMOTE_PROVIDERS"):
        await without.get(ID, "k")
