"""The tokens of caches: one for each id, the same on every broker, and useless for anything else."""

import os
import re
import stat
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from broker.caches.tokens import KEY_FILE, Tokens, open_tokens
from broker.main import create_app
from shared.caches.router import open_caches
from shared.errors import StartupError
from tests.broker.caches.conftest import Cashier, Tenant, client_of, new_cache_id, settings

ID = "rd0123456789abcdefABCDEF"


def test_a_token_is_derived_from_the_id_and_the_key() -> None:
    tokens = Tokens(b"k" * 32)
    assert re.fullmatch(r"gx_[A-Za-z0-9_-]{43}", tokens.of(ID))
    assert tokens.of(ID) == Tokens(b"k" * 32).of(ID)
    assert len({tokens.of(ID), tokens.of(ID + "x"), Tokens(b"j" * 32).of(ID)}) == 3
    assert tokens.check(ID, tokens.of(ID))
    for wrong in ("", "gx_", tokens.of(ID)[:-1], tokens.of(ID) + "=", tokens.of(ID + "x"), "gx_ü", "\ud800"):
        assert not tokens.check(ID, wrong)


def test_without_a_setting_the_key_is_a_file_of_this_user_that_stays(tmp_path: Path) -> None:
    made = open_tokens(None, tmp_path / "home")
    file = tmp_path / "home" / KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_bytes()) == 32
    assert open_tokens(None, tmp_path / "home").of(ID) == made.of(ID)
    assert open_tokens(None, tmp_path / "other").of(ID) != made.of(ID)
    assert open_tokens("a key of sixteen", tmp_path / "home").of(ID) != made.of(ID)
    assert [item.name for item in (tmp_path / "home").iterdir()] == [KEY_FILE]


def test_of_two_brokers_that_start_at_once_both_take_the_same_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def overtaken(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        target.write_bytes(b"o" * 32)
        link(source, target)

    monkeypatch.setattr(os, "link", overtaken)
    assert open_tokens(None, tmp_path).of(ID) == Tokens(b"o" * 32).of(ID)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_key_file_that_is_damaged_is_a_sentence_and_no_new_key(tmp_path: Path, content: bytes) -> None:
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(StartupError, match=KEY_FILE):
        open_tokens(None, tmp_path)
    assert (tmp_path / KEY_FILE).read_bytes() == content


def test_a_short_key_in_the_settings_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="CACHE_TOKEN_KEY"):
        settings(tmp_path, None, CACHE_TOKEN_KEY="short")


async def test_who_has_no_token_learns_nothing_not_even_whether_there_is_such_a_cache(
    app: FastAPI, tenant: Tenant, neighbour: Tenant
) -> None:
    token, other = (app.state.cache_tokens.of(one.cache_id) for one in (tenant, neighbour))
    wrong = [
        {}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {other}"},
        {"Authorization": f"Bearer {token}x"}, {"Authorization": f"Bearer {token[:-1]}"},
        {"Authorization": f"Basic {token}"}, {"Authorization": token},
        {"Authorization": f"Bearer {token} {token}"},
        {"Authorization": f"Bearer {token.lower()}"}, {"Authorization": "Bearer \xff"}, {"X-Token": token},
    ]  # fmt: skip
    async with client_of(app) as http:
        for headers in wrong:
            raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            told = set[str]()
            for cache_id in (tenant.cache_id, new_cache_id(), "x" * 3000, "a"):
                for method, path in (
                    ("GET", "/k"),
                    ("PUT", "/k"),
                    ("GET", ""),
                    ("POST", ""),
                    ("POST", "/pipeline"),
                ):
                    answer = await http.request(method, f"/cache/{cache_id}{path}", headers=raw)
                    assert answer.status_code == 401, (headers, cache_id)
                    assert answer.headers["WWW-Authenticate"] == "Bearer"
                    told.add(re.sub(r'"requestId":"[^"]*"', "", answer.text))
            assert len(told) == 1
    assert await tenant.operations_left() == 50_000


async def test_a_token_opens_its_own_cache_in_any_of_the_places_it_may_stand(
    app: FastAPI, tenant: Tenant
) -> None:
    token = app.state.cache_tokens.of(tenant.cache_id)
    async with client_of(app) as http:
        for headers, query in (
            ({"Authorization": f"Bearer {token}"}, ""),
            ({"authorization": f"bearer  {token}"}, ""),
            ({}, f"?_token={token}"),
        ):
            answer = await http.get(f"/redis/{tenant.cache_id}/echo/hi{query}", headers=headers)
            assert answer.json() == {"result": "hi"}, "and is no argument of the command"


async def test_wrong_tokens_are_limited_by_address_and_paid_operations_are_not(
    tmp_path: Path, valkey_url: str
) -> None:
    app = create_app(settings(tmp_path, None, RATE_LIMIT_PER_IP="5/day"))
    async with app.router.lifespan_context(app):
        # The limits of this process, and the caches of another setting's server.
        app.state.caches = open_caches(valkey_url, None, max_bytes=2**20)
        app.state.gate = Cashier()
        cache_id = new_cache_id()
        await app.state.caches.create(cache_id, "us-east-1", 100, None)
        async with client_of(app, app.state.cache_tokens.of(cache_id), "10.9.9.9") as owner:
            assert {(await owner.get(f"/cache/{cache_id}/k")).status_code for _ in range(20)} == {404}
            put = {"json": {"value": 1}}
            assert {(await owner.put(f"/cache/{cache_id}/k", **put)).status_code for _ in range(20)} == {200}
            statuses = [(await owner.put(f"/cache/{cache_id}/k", json=[])).status_code for _ in range(7)]
            assert statuses == [400] * 5 + [429] * 2
        async with client_of(app, "gx_guess", "10.9.9.8") as guesser:
            statuses = [(await guesser.get(f"/cache/{cache_id}/k")).status_code for _ in range(7)]
            assert statuses == [401] * 5 + [429] * 2
        used_up = new_cache_id()
        await app.state.caches.create(used_up, "us-east-1", 0, None)
        async with client_of(app, app.state.cache_tokens.of(used_up), "10.9.9.5") as owner:
            statuses = [(await owner.get(f"/cache/{used_up}/k")).status_code for _ in range(7)]
            assert statuses == [402] * 5 + [429] * 2
        async with client_of(app, None, "10.9.9.7") as stray:
            statuses = [(await stray.patch(f"/cache/{cache_id}/k")).status_code for _ in range(7)]
            assert statuses == [405] * 5 + [429] * 2
        async with client_of(app, None, "10.9.9.6") as buyer:
            statuses = [(await buyer.get(f"/cache/{cache_id}/topup")).status_code for _ in range(7)]
            assert statuses[-1] == 429
        await app.state.caches.close()


async def test_without_redis_caches_are_unavailable_and_the_rest_works(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path, None))
    async with app.router.lifespan_context(app):
        cache_id = new_cache_id()
        async with client_of(app, app.state.cache_tokens.of(cache_id)) as http:
            for answer in (
                await http.get(f"/cache/{cache_id}/k"),
                await http.post(f"/redis/{cache_id}", json=["GET", "k"]),
            ):
                assert (answer.status_code, answer.json()["code"]) == (503, "cache_unavailable")
                assert int(answer.headers["Retry-After"]) > 0
            assert (await http.get("/health")).json()["dependencies"]["caches"] == "disabled"


async def test_a_redis_that_is_gone_is_a_503_that_names_no_address(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path, "redis://:hidden@127.0.0.1:9/0"))
    async with app.router.lifespan_context(app):
        cache_id = new_cache_id()
        async with client_of(app, app.state.cache_tokens.of(cache_id)) as http:
            answer: httpx.Response = await http.get(f"/cache/{cache_id}/k")
            assert (answer.status_code, answer.json()["code"]) == (503, "cache_unavailable")
            assert "hidden" not in answer.text
            assert "127.0.0.1" not in answer.text
            caches = (await http.get("/health/ready")).json()["dependencies"]["caches"]
            assert caches["status"] == "unhealthy"
            assert "hidden" not in caches["reason"]
