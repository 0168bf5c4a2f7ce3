"""The plain routes of a cache: entries with any JSON, lists, ttl."""

from typing import Any

import pytest

from tests.broker.caches.conftest import Cashier, Tenant, new_tenant

KEYS = [
    "user:123",
    "a/b",
    "..",
    ".",
    "../../etc/passwd",
    "ttl",
    "a/ttl",
    "pipeline",
    "%2F",
    "ключ ☃",
    "a b+c?d#e",
    "x:{}:y",
]


def path_of(key: str) -> str:
    """Every byte encoded, so that no client tidies the path up."""
    return "".join(f"%{byte:02x}" for byte in key.encode())


@pytest.mark.parametrize(
    "value", [None, True, 0, 1.5, "text", "123", "null", '"', [], {"a": [1, {"b": None}]}]
)
async def test_any_json_comes_back_as_it_was_put(tenant: Tenant, value: Any) -> None:
    url = f"/cache/{tenant.cache_id}/k"
    put = await tenant.http.put(url, json={"value": value})
    assert (put.status_code, put.json()) == (200, {"key": "k", "value": value, "ttl": None})
    got = await tenant.http.get(url)
    assert (got.status_code, got.json()) == (200, {"key": "k", "value": value, "ttl": None})
    assert got.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("key", KEYS)
async def test_a_key_is_any_text_and_the_path_is_decoded_once(tenant: Tenant, key: str) -> None:
    url = f"/cache/{tenant.cache_id}/{path_of(key)}"
    assert (await tenant.http.put(url, json={"value": key})).json()["key"] == key
    assert (await tenant.http.get(url)).json() == {"key": key, "value": key, "ttl": None}
    assert await tenant.ask("KEYS", "*") == [key]
    assert (await tenant.http.delete(url)).status_code == 200
    missing = await tenant.http.get(url)
    assert (missing.status_code, missing.json()["code"]) == (404, "key_not_found")
    assert missing.headers["Cache-Control"] == "no-store"
    assert (await tenant.http.delete(url)).json() == {"message": "There was no such key"}


async def test_a_ttl_is_in_seconds_can_be_changed_and_taken_away(tenant: Tenant) -> None:
    url = f"/cache/{tenant.cache_id}/k"
    assert (await tenant.http.put(url, json={"value": 1, "ttl": 60})).json()["ttl"] == 60
    assert 0 < (await tenant.http.get(url)).json()["ttl"] <= 60
    told = (await tenant.http.get(f"{url}/ttl")).json()
    assert told == {"key": "k", "ttl": told["ttl"], "unit": "seconds"}
    assert 0 < told["ttl"] <= 60
    assert (await tenant.http.put(f"{url}/ttl", json={"ttl": 600})).json() == {"key": "k", "ttl": 600}
    assert 60 < (await tenant.http.get(f"{url}/ttl")).json()["ttl"] <= 600
    assert (await tenant.http.put(f"{url}/ttl", json={"ttl": None})).json() == {"key": "k", "ttl": None}
    assert (await tenant.http.get(f"{url}/ttl")).json()["ttl"] is None
    for ask in (tenant.http.get(f"{url}x/ttl"), tenant.http.put(f"{url}x/ttl", json={"ttl": 1})):
        assert (await ask).json()["code"] == "key_not_found"


async def test_a_key_that_ends_in_ttl_is_written_with_an_encoded_slash(tenant: Tenant) -> None:
    base = f"/cache/{tenant.cache_id}"
    await tenant.http.put(f"{base}/a%2Fttl", json={"value": "of the key a/ttl"})
    await tenant.http.put(f"{base}/a", json={"value": "of the key a"})
    assert (await tenant.http.get(f"{base}/a%2Fttl")).json()["value"] == "of the key a/ttl"
    assert (await tenant.http.get(f"{base}/a%2fttl/ttl")).json()["key"] == "a/ttl"
    assert (await tenant.http.get(f"{base}/a/ttl")).json() == {"key": "a", "ttl": None, "unit": "seconds"}
    assert (await tenant.http.get(f"{base}/ttl")).json()["code"] == "key_not_found"


async def test_a_list_names_every_key_once_page_by_page(tenant: Tenant) -> None:
    names = {f"{kind}:{number}" for kind in "ab" for number in range(25)}
    await tenant.ask("MSET", *[word for name in names for word in (name, "1")])
    for prefix, expected in (("", names), ("b:", {name for name in names if name[0] == "b"})):
        seen, cursor = list[str](), ""
        while cursor is not None:
            query = {"limit": "7", "cursor": cursor, "prefix": prefix}
            page = (await tenant.http.get(f"/cache/{tenant.cache_id}", params=query)).json()
            assert page["count"] == len(page["keys"]) <= 7
            seen += page["keys"]
            cursor = page["cursor"]
        assert sorted(seen) == sorted(expected)
    assert page["operations"] == await tenant.operations_left()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'"x"', b'{"ttl": 5}', b'{"value": 1', b'{"value": NaN}']
)
async def test_a_put_without_a_value_is_refused_and_costs_nothing(tenant: Tenant, body: bytes) -> None:
    answer = await tenant.http.put(f"/cache/{tenant.cache_id}/k", content=body)
    assert answer.status_code == 400
    assert await tenant.operations_left() == 50_000


@pytest.mark.parametrize("ttl", [0, -1, True, "60", 1.5, 10**12, [], {}])
async def test_a_ttl_that_cannot_be_is_refused(tenant: Tenant, ttl: Any) -> None:
    url = f"/cache/{tenant.cache_id}/k"
    for answer in (
        await tenant.http.put(url, json={"value": 1, "ttl": ttl}),
        await tenant.http.put(f"{url}/ttl", json={"ttl": ttl}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_ttl")
    assert await tenant.operations_left() == 50_000


async def test_every_operation_counts_one_and_then_more_must_be_bought(app: Any) -> None:
    tenant = await new_tenant(app, operations=5)
    url, cashier = f"/cache/{tenant.cache_id}/k", Cashier()
    app.state.gate = cashier
    async with tenant.http as http:
        await http.put(url, json={"value": 1})
        await http.get(url)
        assert (await http.get(f"{url}-missing")).status_code == 404
        await tenant.ask("PING")
        pipeline = await http.post(f"/redis/{tenant.cache_id}/pipeline", json=[["GET", "k"], ["GET", "k"]])
        assert pipeline.status_code == 402, "two are not left"
        assert (await http.delete(url)).json() == {"message": "Key deleted"}
        for ask in (http.get(url), http.post(f"/redis/{tenant.cache_id}", json=["GET", "k"])):
            assert (await ask).status_code == 402
        assert cashier.asked == [f"/cache/{tenant.cache_id}/topup"] * 3
        await app.state.caches.add_operations(tenant.cache_id, 1, "payment")
        assert (await http.get(url)).status_code == 404


async def test_what_one_protocol_keeps_the_other_one_reads(tenant: Tenant) -> None:
    url = f"/cache/{tenant.cache_id}/k"
    await tenant.http.put(url, json={"value": {"a": 1}})
    assert await tenant.ask("GET", "k") == '{"a":1}'
    await tenant.ask("SET", "k", "bare text")
    assert (await tenant.http.get(url)).json()["value"] == "bare text"
    await tenant.ask("DEL", "k")
    await tenant.ask("HSET", "k", "field", "1")
    answer = await tenant.http.get(url)
    assert (answer.status_code, answer.json()["code"]) == (400, "wrong_type")
