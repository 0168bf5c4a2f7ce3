"""Content on Arweave, through galaksio_storage: keeping, reading, searching."""

import base64
import json
from typing import Any

import httpx
import pytest
import respx

from executor.providers.base import Context
from executor.providers.remote import NotOffered
from executor.providers.storage import parse
from executor.providers.storage.galaksio_storage import Permanent
from executor.upstream.errors import UpstreamRefused
from shared.errors import BadRequest
from tests.executor.remote.conftest import PAID, PlainUpstream, done

BASE = "https://storage.galaksio.cloud"
TX = "bNbA3TEQVL60xlgCcqdz4ZPHFZ711cZ3hmkpGttDt_U"
SAID = {"tx_id": TX, "status": "ok", "data_size": 5, "gateway_url": f"https://arweave.net/{TX}"}


async def ask(context: Context, name: str = "galaksio_storage", **body: Any) -> dict[str, Any]:
    return await done(context, "storage", name, body)


@respx.mock
@pytest.mark.parametrize("name", ["galaksio_storage", "arweave"])
async def test_content_is_kept_for_good_under_a_transaction(
    context: Context, upstream: PlainUpstream, name: str
) -> None:
    upload = respx.post(f"{BASE}/upload").respond(200, json=SAID)
    result = await ask(context, name, data="hello", permanent=True, filename="a.txt")
    assert json.loads(upload.calls.last.request.content) == {
        "data": base64.b64encode(b"hello").decode(),
        "content_type": "text/plain",
        "is_base64": True,
    }
    extras = {"txId": TX, "gatewayUrl": f"https://arweave.net/{TX}"}
    assert result["upstream"] == {**PAID, **extras}
    assert (result["permanent"], result["expiresAt"], result["provider"]) == (True, None, name)
    assert (result["url"], result["txId"]) == (f"{BASE}/data/{TX}", TX)
    assert result["cid"].startswith("bafkrei")
    assert upstream.sent[0][1].provider == name


@respx.mock
async def test_a_gateway_that_is_no_https_address_is_left_out(context: Context) -> None:
    respx.post(f"{BASE}/upload").respond(200, json={**SAID, "gateway_url": "javascript:alert(1)"})
    result = await ask(context, data="hello")
    assert result["gatewayUrl"] is None and "gatewayUrl" not in result["upstream"]


@respx.mock
@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"tx_id": 7}),
        httpx.Response(200, json={"tx_id": "../x"}),
        httpx.Response(200, json={"tx_id": TX, "success": False}),
        httpx.Response(200, json="done"),
        httpx.Response(402, json=SAID),
        httpx.Response(500, json=SAID),
    ],
)
async def test_an_upload_that_is_answered_with_anything_else_is_refused(
    context: Context, answer: httpx.Response
) -> None:
    respx.post(f"{BASE}/upload").mock(return_value=answer)
    with pytest.raises(UpstreamRefused):
        await ask(context, data="hello")


async def test_what_does_not_fit_into_json_is_not_offered(
    context: Context, upstream: PlainUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Permanent.max_bytes == 10 * 1024 * 1024
    monkeypatch.setattr(Permanent, "max_bytes", 4)
    with pytest.raises(NotOffered):
        await ask(context, data="hello")
    assert upstream.sent == []


@respx.mock
async def test_a_transaction_is_read_back(context: Context) -> None:
    respx.get(f"{BASE}/data/{TX}").respond(200, content=b"\x00\xff", content_type="image/png")
    assert await ask(context, storageOperation="data", tx=TX) == {
        "txId": TX,
        "data": "AP8=",
        "encoding": "base64",
        "size": 2,
        "contentType": "image/png",
        "upstream": PAID,
    }


@respx.mock
async def test_transactions_are_searched(context: Context) -> None:
    query = {"op": "equals", "name": "App", "value": "x"}
    asked = respx.post(f"{BASE}/query").respond(200, json=[TX])
    found = await ask(context, storageOperation="query", query=query)
    assert found == {"transactions": [TX], "count": 1, "upstream": PAID}
    assert json.loads(asked.calls.last.request.content) == query
    for answer in (
        httpx.Response(200, json={}),
        httpx.Response(200, json=[7]),
        httpx.Response(200, text="<"),
    ):
        asked.mock(return_value=answer)
        with pytest.raises(UpstreamRefused):
            await ask(context, storageOperation="query", query=query)


@respx.mock
async def test_its_health_is_asked_without_money(context: Context, upstream: PlainUpstream) -> None:
    upstream.receipt = None
    asked = respx.get(f"{BASE}/health").respond(200, json={"status": "healthy"})
    assert await ask(context, storageOperation="health") == {"status": "healthy"}
    assert upstream.sent[0][1].limit_atomic == 0
    asked.respond(503)
    with pytest.raises(UpstreamRefused):
        await ask(context, storageOperation="health")


@pytest.mark.parametrize(
    "body",
    [
        {"storageOperation": "data"},
        {"storageOperation": "data", "tx": "../health"},
        {"storageOperation": "data", "tx": 7},
        {"storageOperation": "query"},
        {"storageOperation": "query", "query": "all"},
        {"storageOperation": "erase", "tx": TX},
        {"storageOperation": ["data"], "tx": TX},
        {"storageOperation": "data", "tx": TX, "provider": "local"},
        {"storageOperation": "data", "tx": TX, "provider": "arweave"},
    ],
)
def test_an_operation_that_cannot_be_is_a_bad_request(body: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        parse({"provider": "galaksio_storage", **body})
