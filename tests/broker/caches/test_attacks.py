"""Keys, paths, values and bodies that hope to get through, to get far, or to take too much."""

import asyncio
import json
import re

import pytest
from fastapi import FastAPI

from tests.broker.caches.conftest import Tenant, client_of

MIB = 1024 * 1024
REFUSED_KEYS = [
    "%00",
    "a%00b",
    "%0a",
    "k%0d%0aX-Injected:%201",
    "%7f",
    "%c2%85",
    "%ff",
    "%c0%af",
    "%ed%a0%80",
    "x" * 513,
]


@pytest.mark.parametrize("raw", REFUSED_KEYS)
async def test_a_key_that_cannot_be_is_refused_everywhere_and_costs_nothing(tenant: Tenant, raw: str) -> None:
    base = f"/cache/{tenant.cache_id}/{raw}"
    for method, path, body in (
        ("GET", base, None),
        ("PUT", base, {"value": 1}),
        ("DELETE", base, None),
        ("GET", f"{base}/ttl", None),
        ("PUT", f"{base}/ttl", {"ttl": 5}),
        ("GET", f"/redis/{tenant.cache_id}/get/{raw}", None),
    ):
        answer = await tenant.http.request(method, path, json=body)
        assert answer.status_code == 400 or ("%0a" in raw and answer.status_code in (404, 405)), answer.text
        assert "X-Injected" not in answer.headers
    assert await tenant.operations_left() == 50_000
    assert await tenant.ask("DBSIZE") == 0


async def test_dots_and_slashes_lead_nowhere(app: FastAPI, tenant: Tenant, neighbour: Tenant) -> None:
    await neighbour.ask("SET", "secret", "neighbour's")
    for raw in (
        f"%2e%2e%2f{neighbour.cache_id}%2fsecret",
        f"%2e%2e/{neighbour.cache_id}/secret",
        f"..%2f{neighbour.cache_id}%2fsecret",
        "%7d:k:secret",
        f"%7b{neighbour.cache_id}%7d:k:secret",
    ):
        assert (await tenant.http.get(f"/cache/{tenant.cache_id}/{raw}")).status_code == 404
        assert (await tenant.http.get(f"/redis/{tenant.cache_id}/get/{raw}")).json().get("result") is None
    for path in (
        f"/cache/{tenant.cache_id}%2f..%2f{neighbour.cache_id}/secret",
        f"/cache/{neighbour.cache_id}%2fsecret",
        f"/cache/{tenant.cache_id}%00/secret",
        f"/cache//{neighbour.cache_id}/secret",
        f"//cache/{neighbour.cache_id}/secret",
        f"/%63ache%2f{neighbour.cache_id}/secret",
        f"/cache%2f{neighbour.cache_id}/secret",
    ):
        answer = await tenant.http.get(path)
        assert answer.status_code in (401, 404), (path, answer.text)
        assert "neighbour's" not in answer.text
    assert await neighbour.operations_left() == 50_000 - 1


async def test_an_id_spelled_in_another_way_is_the_same_cache_or_none(tenant: Tenant) -> None:
    await tenant.ask("SET", "k", "v")
    spelled = f"%{ord(tenant.cache_id[0]):x}{tenant.cache_id[1:]}"
    answer = await tenant.http.get(f"/cache/{spelled}/k")
    assert answer.status_code == 404


async def test_values_are_bounded(tenant: Tenant) -> None:
    url = f"/cache/{tenant.cache_id}/k"
    assert (await tenant.http.put(url, json={"value": "x" * MIB})).status_code == 200
    over = await tenant.http.put(url, json={"value": "x" * (MIB + 1)})
    assert (over.status_code, over.json()["code"]) == (413, "value_too_large")
    assert "argument" in await tenant.refused("SET", "k", "x" * (MIB + 1))
    body = await tenant.http.put(url, content=b'{"value":"' + b"x" * 11 * MIB + b'"}')
    assert (body.status_code, body.json()["code"]) == (413, "body_too_large")
    assert len((await tenant.http.get(url)).json()["value"]) == MIB


@pytest.mark.parametrize(
    "body",
    [
        b'{"value":' + b"[" * 100_000, b'{"value":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
        b'{"value":' + b"[" * 990 + b"]" * 990 + b"}", b'{"value": 1e999}', b'{"value": -Infinity}',
        b'{"value": ' + b"9" * 5000 + b"}", b'{"value": "\\ud800"}', b'{"value": "\xff"}', b"\xef\xbb\xbf{}",
        b'{"value": 1, "ttl": 1e400}', b'{"value": 1, "ttl": ' + b"9" * 4000 + b"}",
    ],
    ids=range(11),
)  # fmt: skip
async def test_json_that_is_too_much_or_none_is_a_400_or_kept_and_never_a_500(
    tenant: Tenant, body: bytes
) -> None:
    answer = await tenant.http.put(f"/cache/{tenant.cache_id}/k", content=body)
    assert answer.status_code in (200, 400), answer.text
    read = await tenant.http.get(f"/cache/{tenant.cache_id}/k")
    assert read.status_code == (200 if answer.status_code == 200 else 404)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 900 + "]" * 900,
        "9" * 5000,
        "1e999",
        "NaN",
        '"\\ud800"',
        "\x00\x01",
        '{"a":' * 60_000,
    ],
    ids=range(8),
)
async def test_what_somebody_kept_over_redis_never_breaks_a_plain_get(tenant: Tenant, text: str) -> None:
    await tenant.ask("SET", "k", text)
    answer = await tenant.http.get(f"/cache/{tenant.cache_id}/k")
    assert answer.status_code == 200
    assert answer.json()["key"] == "k"
    assert await tenant.ask("GET", "k") == text


async def test_bytes_that_are_no_text_never_break_a_plain_get_or_a_list(tenant: Tenant) -> None:
    await tenant.http.post(f"/redis/{tenant.cache_id}/set/k", content=b"\xff\xfe\x00")
    assert (await tenant.http.get(f"/cache/{tenant.cache_id}/k")).status_code == 200
    assert (await tenant.http.get(f"/cache/{tenant.cache_id}")).json()["keys"] == ["k"]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=-1", "limit=1e3", "limit=٣", "limit=" + "9" * 400, "limit=",
     "cursor=%ff", "cursor=!", "cursor=" + "A" * 3000, "cursor=AA", "prefix=%ff", "prefix=%00",
     "prefix=" + "x" * 600, "&" * 1001 + "limit=1"],
)  # fmt: skip
async def test_a_list_with_odd_parameters_is_refused_or_answered(tenant: Tenant, query: str) -> None:
    answer = await tenant.http.get(f"/cache/{tenant.cache_id}?{query}")
    assert answer.status_code in (200, 400), answer.text
    if "cursor=AA" not in query and not query.startswith("&"):
        assert answer.status_code == 400


async def test_the_cursor_of_another_tenant_shows_only_ones_own_keys(
    tenant: Tenant, neighbour: Tenant
) -> None:
    await tenant.ask("MSET", *[word for number in range(20) for word in (f"mine:{number}", "1")])
    await neighbour.ask("MSET", *[word for number in range(20) for word in (f"theirs:{number}", "1")])
    page = (await neighbour.http.get(f"/cache/{neighbour.cache_id}?limit=5")).json()
    query = {"cursor": page["cursor"]}
    keys = (await tenant.http.get(f"/cache/{tenant.cache_id}", params=query)).json()["keys"]
    assert all(key.startswith("mine:") for key in keys)


async def test_no_answer_ever_names_the_prefix_or_the_server(tenant: Tenant) -> None:
    await tenant.ask("RPUSH", "list", "x")
    said = [
        await tenant.refused("INCR", "list"),
        await tenant.refused("GET", "list"),
        await tenant.refused("SET", "k", "v", "EX", "soon"),
        await tenant.refused("EVAL", "return redis.call('KEYS','*')", "0"),
        await tenant.refused("LSET", "list", "9", "x"),
        await tenant.refused("HSET", "list", "f", "v"),
        (await tenant.http.get(f"/cache/{tenant.cache_id}/list")).text,
        json.dumps(await tenant.ask("KEYS", "*")),
        json.dumps(await tenant.ask("SCAN", "0", "COUNT", "100")),
        json.dumps(await tenant.ask("RANDOMKEY")),
    ]
    for text in said:
        assert not re.search(rf"{tenant.cache_id}|\}}:|user_script|127\.0\.0\.1|redis\.call", text), text


async def test_fifty_at_once_use_exactly_what_they_used(app: FastAPI, tenant: Tenant) -> None:
    await tenant.ask("SET", "n", "0")
    incr = [tenant.http.post(f"/redis/{tenant.cache_id}", json=["INCR", "n"]) for _ in range(50)]
    results = [answer.json()["result"] for answer in await asyncio.gather(*incr)]
    assert sorted(results) == list(range(1, 51))
    assert await tenant.operations_left() == 50_000 - 51


async def test_a_client_that_hangs_up_in_the_middle_of_its_body_breaks_nothing(tenant: Tenant) -> None:
    token = tenant.app.state.cache_tokens.of(tenant.cache_id)
    scope = {
        "type": "http", "method": "PUT", "path": f"/cache/{tenant.cache_id}/k", "query_string": b"",
        "raw_path": f"/cache/{tenant.cache_id}/k".encode(), "client": ("10.0.0.1", 1), "scheme": "http",
        "headers": [(b"authorization", f"Bearer {token}".encode())], "http_version": "1.1",
    }  # fmt: skip
    messages = iter(
        [{"type": "http.request", "body": b'{"value":', "more_body": True}, {"type": "http.disconnect"}]
    )
    sent = []

    async def receive() -> dict[str, object]:
        return next(messages)

    async def send(message: object) -> None:
        sent.append(message)

    await tenant.app(scope, receive, send)  # type: ignore[arg-type]
    assert sent == []
    assert await tenant.ask("EXISTS", "k") == 0


async def test_a_cache_that_was_deleted_is_gone_for_its_own_token_too(app: FastAPI, tenant: Tenant) -> None:
    await tenant.ask("SET", "k", "v")
    await app.state.caches.delete(tenant.cache_id)
    async with client_of(app, app.state.cache_tokens.of(tenant.cache_id)) as http:
        for answer in (
            await http.get(f"/cache/{tenant.cache_id}/k"),
            await http.post(f"/redis/{tenant.cache_id}", json=["SET", "k", "v"]),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "cache_not_found")
