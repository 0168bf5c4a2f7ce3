"""A cache that was bought at xcache, at the broker's own routes."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi import FastAPI

from broker.main import create_app
from broker.operations import CACHE, Shown, told
from shared.errors import Unavailable
from tests.broker.caches.conftest import Tenant, client_of, settings
from tests.support.standin import Answer, StandIn

OWN = "96ad0856-03b1-4ee7-9666-e81abd0349e1"
ID = f"xc{OWN}"
BOUGHT = {
    "cacheId": OWN,
    "region": "us-east-1",
    "operations": 50_000,
    "expiresAt": None,
    "provider": "xcache",
    "upstream": {"paidUsd": "0.01", "transaction": "0xfeed", "network": "eip155:84532", "payTo": "0xaa"},
}


class Xcache(StandIn):
    """One cache, in memory. `used_up` answers 402."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, dict[str, Any]] = {}
        self.used_up = False

    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        cache_id, *rest = path.lstrip("/").split("/")
        assert cache_id == OWN
        if self.used_up:
            return Answer.of({"accepts": []}, 402)
        if not rest:
            keys = list(self.kept)
            return Answer.of({"keys": keys, "count": len(keys), "operations": 41})
        key = unquote(rest[0])
        if method == "PUT" and len(rest) == 1:
            self.kept[key] = {"key": key, "ttl": None, **json.loads(body)}
        if key not in self.kept:
            return Answer.of({"error": "not found"}, 404)
        if method == "DELETE":
            return Answer.of({"message": "gone", **self.kept.pop(key)})
        if method == "PUT":
            self.kept[key].update(json.loads(body))
        entry = self.kept[key]
        return Answer.of({**entry, "unit": "seconds"} if len(rest) > 1 else entry)


@pytest.fixture
def xcache() -> Iterator[Xcache]:
    made = Xcache()
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def app(tmp_path: Path, xcache: Xcache) -> AsyncIterator[FastAPI]:
    app = create_app(settings(tmp_path, None, XCACHE_URL=xcache.url))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def tenant(app: FastAPI) -> AsyncIterator[Tenant]:
    async with client_of(app, app.state.cache_tokens.of(ID)) as http:
        yield Tenant(app, ID, http)


def test_it_has_an_id_that_names_its_backend_and_says_what_was_paid(app: FastAPI) -> None:
    result = CACHE.read_result(BOUGHT)
    assert result == {
        "cacheId": ID,
        **{name: BOUGHT[name] for name in ("region", "operations", "expiresAt", "upstream")},
    }
    kept = json.dumps({"result": result}).encode()
    shown = json.loads(told(CACHE, kept, Shown("https://b.example", app.state.cache_tokens)))["result"]
    assert shown == {
        **result,
        "provider": "xcache",
        "endpoint": f"https://b.example/cache/{ID}",
        "token": app.state.cache_tokens.of(ID),
    }


def test_what_else_the_executor_answers_is_not_understood() -> None:
    for answer in (None, [], {"provider": "xcache"}, {**BOUGHT, "cacheId": 7}):
        with pytest.raises(Unavailable):
            CACHE.read_result(answer)
    too_much = {**BOUGHT, "upstream": {"padding": "x" * 33_000}}
    assert "upstream" not in CACHE.read_result(too_much)


async def test_it_is_used_like_any_other(tenant: Tenant) -> None:
    http, place = tenant.http, f"/cache/{ID}"
    value = {"name": "Alice", "tags": [1, None]}
    put = await http.put(f"{place}/user%2F1", json={"value": value, "ttl": 60})
    assert put.json() == {"key": "user/1", "value": value, "ttl": 60}
    assert (await http.get(f"{place}/user%2F1")).json() == {"key": "user/1", "value": value, "ttl": 60}
    assert (await http.get(f"{place}/user%2F1/ttl")).json() == {"key": "user/1", "ttl": 60, "unit": "seconds"}
    assert (await http.put(f"{place}/user%2F1/ttl", json={"ttl": 5})).json() == {"key": "user/1", "ttl": 5}
    listed = (await http.get(place)).json()
    assert listed == {"keys": ["user/1"], "count": 1, "operations": 41, "cursor": None}
    assert (await http.delete(f"{place}/user%2F1")).json() == {"message": "Key deleted"}
    missing = await http.get(f"{place}/user%2F1")
    assert (missing.status_code, missing.json()["code"]) == (404, "key_not_found")


async def test_it_opens_with_its_own_token_only(app: FastAPI, xcache: Xcache) -> None:
    xcache.kept["k"] = {"key": "k", "value": "secret", "ttl": None}
    for token in (None, "gx_guess", app.state.cache_tokens.of(OWN), app.state.cache_tokens.of("xcother")):
        async with client_of(app, token) as http:
            refused = await http.get(f"/cache/{ID}/k")
            assert refused.status_code == 401 and "secret" not in refused.text


async def test_what_xcache_cannot_do_is_a_bad_request(tenant: Tenant) -> None:
    http, place = tenant.http, f"/cache/{ID}"
    for answer, code in (
        (await http.get(f"{place}?prefix=a"), "not_offered_by_xcache"),
        (await http.get(f"{place}?cursor=a"), "not_offered_by_xcache"),
        (await http.put(f"{place}/k/ttl", json={"ttl": None}), "not_offered_by_xcache"),
        (await http.post(f"/redis/{ID}", json=["GET", "k"]), "no_commands"),
        (await http.post(f"{place}/pipeline", json=[["GET", "k"]]), "no_commands"),
        (await http.post(f"{place}/topup", json={}), "cannot_top_up"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text


async def test_used_up_it_is_gone_and_nobody_is_asked_to_pay(tenant: Tenant, xcache: Xcache) -> None:
    xcache.used_up = True
    answer = await tenant.http.get(f"/cache/{ID}/k")
    assert (answer.status_code, answer.json()["code"]) == (410, "operations_used_up")
    assert "accepts" not in answer.json() and "new cache" in answer.json()["error"]


async def test_while_xcache_is_away_its_caches_are_unavailable(tenant: Tenant, xcache: Xcache) -> None:
    with xcache.down():
        answer = await tenant.http.get(f"/cache/{ID}/k")
    assert (answer.status_code, answer.json()["code"]) == (503, "cache_unavailable")
    assert str(xcache.port) not in answer.text


async def test_a_host_that_does_not_want_xcache_says_so(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path, None, REMOTE_PROVIDERS="off"))
    async with app.router.lifespan_context(app), client_of(app, app.state.cache_tokens.of(ID)) as http:
        answer = await http.get(f"/cache/{ID}/k")
    assert (answer.status_code, answer.json()["code"]) == (503, "cache_unavailable")
    assert "REMOTE_PROVIDERS" in answer.json()["error"]
