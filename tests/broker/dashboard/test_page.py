"""The page's files and the routes' answers, without a browser."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from broker.dashboard import neighbours as asking
from broker.dashboard.assets import assets
from broker.dashboard.neighbours import WAIT_S, Neighbours
from tests.broker.shop import Shop, open_shop

OPERATOR = "an-operators-long-token"
TOKEN = {"Authorization": f"Bearer {OPERATOR}"}
PAGE = Path(__file__).parents[3] / "broker" / "dashboard" / "page"


@pytest.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    """Its neighbours are waited for until they have answered, and asked only when somebody looks."""
    for name, seconds in {"WAIT_S": 20.0, "ASK_TIMEOUT_S": 20.0, "SAMPLE_EVERY_S": 3600.0}.items():
        monkeypatch.setattr(asking, name, seconds)
    async with open_shop(tmp_path, OPERATOR_TOKEN=OPERATOR) as shop:
        yield shop


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://galaksio.example") as client:
        yield client


async def test_the_page_holds_no_data_no_inline_script_and_nothing_from_elsewhere(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/dashboard")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert re.findall(r"<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=|<style", answer.text) == []
    wanted = re.findall(r'(?:src|href)="(/[^"]*)"', answer.text)
    assert len(wanted) == 4
    assert "//" not in "".join(wanted)
    for path in wanted:
        assert (await client.get(path)).status_code == 200, path


async def test_every_file_of_the_page_is_served_and_not_sent_again_to_who_has_it(
    client: httpx.AsyncClient,
) -> None:
    there = {str(path.relative_to(PAGE)) for path in PAGE.rglob("*") if path.is_file()}
    assert there == {*assets(), "uplot/LICENSE"}
    for name in assets():
        path = f"/dashboard/{name}"
        first = await client.get(path)
        assert first.content == (PAGE / name).read_bytes()
        for known in (first.headers["ETag"], f'"other", W/{first.headers["ETag"]}', "*"):
            again = await client.get(path, headers={"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["Content-Security-Policy"] == first.headers["Content-Security-Policy"]
        assert (await client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200
    for name in ("none.js", "../guard.py", "%2e%2e/guard.py", "uplot/LICENSE", "uplot"):
        assert (await client.get(f"/dashboard/{name}")).status_code == 404, name


def test_no_script_of_ours_makes_html_out_of_text() -> None:
    for path in PAGE.glob("*.js"):
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(", path.read_text()
        )
        assert found == [], path.name


@pytest.mark.parametrize(
    "body", [{}, {"transaction": 1}, {"transaction": "0x12"}, {"transaction": "0x" + "g" * 64}, [], None]
)
async def test_only_a_transaction_hash_marks_a_refund(client: httpx.AsyncClient, body: Any) -> None:
    refused = await client.post("/api/dashboard/refunds/x", json=body, headers=TOKEN)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


async def test_refunds_are_the_operators_alone(client: httpx.AsyncClient) -> None:
    body = {"transaction": "0x" + "12" * 32}
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert (await client.post("/api/dashboard/refunds/x", json=body, headers=headers)).status_code == 401
    assert (await client.post("/api/dashboard/refunds/x", json=body, headers=TOKEN)).status_code == 404


async def test_numbers_are_told_without_the_neighbours_and_say_what_they_lack(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/api/dashboard/stats", headers=TOKEN)
    assert answer.headers["Cache-Control"] == "no-store"
    told = answer.json()["neighbours"]
    assert [(row["name"], row["reachable"]) for row in told] == [("quote", False), ("executor", False)]
    assert all(row["reason"] for row in told)


async def test_a_neighbour_that_hangs_or_talks_rubbish_delays_nobody_and_its_last_rows_stay(
    respx_mock: respx.MockRouter, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbours: Neighbours = shop.app.state.dashboard.neighbours
    row = {"name": "local", "kind": "compute", "status": "available"}
    respx_mock.get(path="/health").respond(json={"version": "9.9"})
    providers = respx_mock.get(path="/providers").respond(json={"providers": [row], "count": 1})
    seen = await neighbours.look()
    assert (seen.neighbours[0].reachable, seen.neighbours[0].version) == (True, "9.9")
    for rubbish in ("[]", "{", json.dumps({"providers": 1}), "[" * 5000):
        providers.respond(text=rubbish)
        seen = await neighbours.look()
        assert (seen.neighbours[0].reachable, seen.providers[0].name) == (False, "local"), rubbish

    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(600)
        raise AssertionError("unreachable")

    providers.mock(side_effect=hang)
    monkeypatch.setattr(asking, "WAIT_S", WAIT_S)
    monkeypatch.setattr(asking, "ASK_TIMEOUT_S", 600.0)  # its end would be news
    async with asyncio.timeout(20):
        assert await neighbours.look() == seen
        assert await neighbours.look() == seen
