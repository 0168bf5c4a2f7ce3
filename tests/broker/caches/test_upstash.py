"""The REST protocol of Upstash, spoken by hand."""

import base64
import json

import pytest

from tests.broker.caches.conftest import Tenant


@pytest.fixture(params=["redis", "cache"])
def endpoint(request: pytest.FixtureRequest, tenant: Tenant) -> str:
    return f"/{request.param}/{tenant.cache_id}"


async def test_a_command_in_the_body_is_answered_with_its_result(tenant: Tenant, endpoint: str) -> None:
    for slash in ("", "/"):
        answer = await tenant.http.post(endpoint + slash, json=["SET", "foo", "bar", "EX", 60])
        assert (answer.status_code, answer.json()) == (200, {"result": "OK"})
    assert (await tenant.http.post(endpoint, json=["ttl", "foo"])).json()["result"] in range(40, 61)
    assert (await tenant.http.post(endpoint, json=["GET", "none"])).json() == {"result": None}
    assert (await tenant.http.post(endpoint, json=["MGET", "foo", "none"])).json() == {
        "result": ["bar", None]
    }


async def test_a_command_that_fails_is_a_400_with_what_redis_says(tenant: Tenant, endpoint: str) -> None:
    await tenant.ask("LPUSH", "list", "1")
    answer = await tenant.http.post(endpoint, json=["INCR", "list"])
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("WRONGTYPE Operation against a key")
    for command in (["FLUSHALL"], ["flushall"]):
        refused = await tenant.http.post(endpoint, json=command)
        assert refused.status_code == 400
        assert refused.json()["error"] == "ERR command 'FLUSHALL' is not available here"


async def test_a_pipeline_answers_each_command_also_where_one_fails(tenant: Tenant, endpoint: str) -> None:
    rows = [["SET", "a", 1], ["FLUSHALL"], ["INCR", "a"], ["LPUSH", "a", "x"], ["GET"], ["GET", "a"]]
    answer = await tenant.http.post(f"{endpoint}/pipeline", json=rows)
    assert answer.status_code == 200
    results = answer.json()
    assert [item.get("result") for item in results] == ["OK", None, 2, None, None, "2"]
    assert ["error" in item for item in results] == [False, True, False, True, True, False]
    assert await tenant.operations_left() == 50_000 - 4, "what is refused does not count"


async def test_a_transaction_runs_all_or_nothing_of_what_is_refused(tenant: Tenant, endpoint: str) -> None:
    url = f"{endpoint}/multi-exec"
    answer = await tenant.http.post(url, json=[["SET", "a", 1], ["INCR", "a"]])
    assert answer.json() == [{"result": "OK"}, {"result": 2}]
    discarded = await tenant.http.post(url, json=[["SET", "a", 7], ["EVAL", "return 1", 0]])
    assert discarded.status_code == 400
    assert discarded.json()["error"].startswith("EXECABORT")
    assert await tenant.ask("GET", "a") == "2"


async def test_a_path_is_a_command_with_the_body_and_the_query_behind_it(tenant: Tenant) -> None:
    endpoint = f"/redis/{tenant.cache_id}"
    assert (await tenant.http.get(f"{endpoint}/set/foo/a%2Fb%20c/EX/60")).json() == {"result": "OK"}
    assert (await tenant.http.get(f"{endpoint}/get/foo")).json() == {"result": "a/b c"}
    assert (await tenant.http.post(f"{endpoint}/set/foo?EX=100", content=b'{"json": 1}')).json()[
        "result"
    ] == "OK"
    assert (await tenant.http.get(f"{endpoint}/get/foo")).json() == {"result": '{"json": 1}'}
    assert (await tenant.http.get(f"{endpoint}/ttl/foo")).json()["result"] in range(80, 101)
    assert (await tenant.http.put(f"{endpoint}/set/foo?NX", content=b"x")).json() == {"result": None}
    assert (await tenant.http.get(f"{endpoint}/get/foo/ttl")).status_code == 400, "no plain route here"
    assert (await tenant.http.post(f"/cache/{tenant.cache_id}/get/foo")).json()["result"] == '{"json": 1}'


async def test_with_base64_every_text_is_encoded_but_a_plain_ok(tenant: Tenant, endpoint: str) -> None:
    headers = {"Upstash-Encoding": "base64"}
    rows = [["SET", "k", "OK"], ["RPUSH", "l", "OK", "é"], ["LRANGE", "l", 0, -1], ["PING"], ["GET", "none"]]
    answer = await tenant.http.post(f"{endpoint}/pipeline", json=rows, headers=headers)
    ok, accent, pong = (base64.b64encode(text.encode()).decode() for text in ("OK", "é", "PONG"))
    assert [item["result"] for item in answer.json()] == ["OK", 2, [ok, accent], pong, None]


async def test_bytes_that_are_no_text_survive_in_base64(tenant: Tenant) -> None:
    endpoint, raw = f"/redis/{tenant.cache_id}", bytes(range(256))
    await tenant.http.post(f"{endpoint}/set/k", content=raw)
    answer = await tenant.http.get(f"{endpoint}/get/k", headers={"Upstash-Encoding": "base64"})
    assert base64.b64decode(answer.json()["result"]) == raw
    assert (await tenant.http.get(f"{endpoint}/get/k")).status_code == 200


async def test_numbers_and_booleans_are_kept_as_they_are_written(tenant: Tenant) -> None:
    content = b'["RPUSH","l",1.50,123456789012345678901234567890,1e400,true,false]'
    await tenant.http.post(f"/redis/{tenant.cache_id}", content=content)
    kept = await tenant.ask("LRANGE", "l", 0, -1)
    assert kept == ["1.50", "123456789012345678901234567890", "1e400", "true", "false"]


@pytest.mark.parametrize(
    "body",
    [
        "", "{}", "[]", "null", '"GET"', '["GET"', "[[]]", '[["GET","k"]]', '["SET","k",null]',
        '["SET","k",{}]', '["SET","k",["v"]]',
        '["SET","k","\\ud800"]', '["SET","k",NaN]', "[" * 100_000, '[""]', "[1]",
    ],
)  # fmt: skip
async def test_a_body_that_is_no_command_is_refused_and_costs_nothing(tenant: Tenant, body: str) -> None:
    answer = await tenant.http.post(f"/redis/{tenant.cache_id}", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "command_refused")
    assert answer.json()["error"].startswith("ERR ")
    assert await tenant.operations_left() == 50_000


@pytest.mark.parametrize(
    "body", ["", "{}", "[]", '["GET","k"]', "[1]", '[["GET","k"],1]', '[["SET","k",{}]]']
)
async def test_a_body_that_is_no_pipeline_is_refused(tenant: Tenant, body: str) -> None:
    for path in ("pipeline", "multi-exec"):
        answer = await tenant.http.post(f"/redis/{tenant.cache_id}/{path}", content=body)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("ERR ")


async def test_a_pipeline_is_bounded(tenant: Tenant) -> None:
    url = f"/redis/{tenant.cache_id}/pipeline"
    assert len((await tenant.http.post(url, json=[["PING"]] * 1000)).json()) == 1000
    assert (await tenant.http.post(url, json=[["PING"]] * 1001)).status_code == 400
    huge = await tenant.http.post(url, content=json.dumps([["SET", "k", "x" * 11_000_000]]))
    assert (huge.status_code, huge.json()["code"]) == (413, "body_too_large")


async def test_another_format_of_replies_is_refused_by_name(tenant: Tenant, endpoint: str) -> None:
    answer = await tenant.http.post(endpoint, json=["PING"], headers={"Upstash-Response-Format": "resp2"})
    assert answer.status_code == 400
    assert "Upstash-Response-Format" in answer.json()["error"]
