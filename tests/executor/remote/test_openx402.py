"""Pinning at openx402: JSON as its value, anything else as a file, and every answer that is none."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from executor.providers.base import Context
from executor.providers.remote import NotOffered
from executor.providers.storage.openx402 import JSON_MAX_BYTES, Openx402
from executor.storage.errors import NoSuchUpload
from executor.storage.storage import Storage
from executor.upstream.errors import UpstreamLost, UpstreamRefused
from shared.store import StoreResult
from tests.executor.remote.conftest import PAID, PlainUpstream, done, staged

BASE = "https://ipfs.openx402.ai"
HASH = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"
SAID = {"success": True, "id": "p1", "filename": "x", "ipfsHash": HASH, "pinataUrl": "https://p.example/1"}
GATEWAY = f"https://gateway.pinata.cloud/ipfs/{HASH}"
CID_OF_HELLO = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"
"""As `ipfs add --cid-version=1` prints it."""


async def store(context: Context, **body: Any) -> dict[str, Any]:
    return await done(context, "storage", "openx402", body)


@respx.mock
async def test_a_file_is_pinned_as_a_file(context: Context, upstream: PlainUpstream, tmp_path: Path) -> None:
    pin = respx.post(f"{BASE}/pin/file").respond(200, json=SAID)
    result = await store(context, data="hello", filename="a.txt")
    assert b'name="file"; filename="a.txt"' in pin.calls.last.request.content
    assert upstream.files == [b"hello"]
    assert result == {
        "success": True,
        "id": "p1",
        "ipfsHash": HASH,
        "ipfsUrl": GATEWAY,
        "pinataUrl": "https://p.example/1",
        "cid": HASH,
        "url": GATEWAY,
        "provider": "openx402",
        "size": 5,
        "permanent": False,
        "expiresAt": None,
        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "contentType": "text/plain",
        "filename": "a.txt",
        "upstream": {**PAID, "localCid": CID_OF_HELLO, "id": "p1", "pinataUrl": "https://p.example/1"},
    }
    assert staged(tmp_path) == []


@respx.mock
@pytest.mark.parametrize(
    ("body", "value"),
    [
        ({"data": {"a": [1, "é"]}}, {"a": [1, "é"]}),
        ({"data": '{"a": 1}', "filename": "a.txt"}, {"a": 1}),
        ({"fileInline": base64.b64encode(b"[1, 2]").decode(), "fileName": "list.json"}, [1, 2]),
        ({"data": "false"}, False),
        ({"data": "0"}, 0),
    ],
)
async def test_json_is_pinned_as_its_value(context: Context, body: dict[str, Any], value: Any) -> None:
    pin = respx.post(f"{BASE}/pin/json").respond(200, json=SAID)
    result = await store(context, **body)
    assert json.loads(pin.calls.last.request.content) == value
    assert (result["endpoint"], result["priceUsd"], result["ipfsHash"]) == ("/pin/json", 0.01, HASH)


@respx.mock
@pytest.mark.parametrize(
    "data", ["null", "{nonsense", "NaN", '["\\ud800"]', "[" * 300 + "]" * 300, "1" * 5000, "1e999", ""]
)
async def test_what_only_looks_like_json_is_pinned_as_the_file_that_it_is(
    context: Context, upstream: PlainUpstream, data: str
) -> None:
    respx.post(f"{BASE}/pin/file").respond(200, json=SAID)
    result = await store(context, data=data, filename="a.json")
    assert upstream.files == [data.encode()] and "endpoint" not in result


@respx.mock
async def test_json_beyond_ten_megabytes_is_pinned_as_a_file(
    context: Context, upstream: PlainUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert JSON_MAX_BYTES == 10 * 1024 * 1024
    monkeypatch.setattr("executor.providers.storage.openx402.JSON_MAX_BYTES", 4)
    respx.post(f"{BASE}/pin/file").respond(200, json=SAID)
    await store(context, data="[1,2]")
    assert upstream.files == [b"[1,2]"]


@respx.mock
@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>pinned!</html>"),
        httpx.Response(200, json={**SAID, "success": False}),
        httpx.Response(200, json={"success": True}),
        httpx.Response(200, json={**SAID, "ipfsHash": 5}),
        httpx.Response(200, json={**SAID, "ipfsHash": None}),
        httpx.Response(200, json={**SAID, "ipfsHash": "../../etc/passwd"}),
        httpx.Response(200, json={**SAID, "ipfsHash": "Qm" + "a" * 5000}),
        httpx.Response(200, json=[SAID]),
        httpx.Response(200, text=json.dumps(SAID)[:-5]),
        httpx.Response(200, content=b'{"ipfsHash": "\\ud800"}'),
        httpx.Response(202, json=SAID),
        httpx.Response(402, json=SAID),
        httpx.Response(404, json=SAID),
        httpx.Response(503, json=SAID),
        httpx.Response(307, headers={"Location": "https://elsewhere.example"}),
    ],
)
async def test_any_other_answer_is_refused_and_leaves_nothing_here(
    context: Context, tmp_path: Path, answer: httpx.Response
) -> None:
    respx.post(f"{BASE}/pin/file").mock(return_value=answer)
    with pytest.raises(UpstreamRefused) as refused:
        await store(context, data="hello")
    assert "pinned!" not in refused.value.message
    assert staged(tmp_path) == []


@respx.mock
async def test_fields_that_are_too_long_or_of_another_type_are_left_out(context: Context) -> None:
    said = {"ipfsHash": HASH, "id": 7, "pinataUrl": "x" * 2001}
    respx.post(f"{BASE}/pin/file").respond(200, json=said)
    result = await store(context, data="hello")
    assert (result["id"], result["pinataUrl"], result["filename"]) == (None, None, None)
    assert result["upstream"].keys() == {*PAID, "localCid"}


@respx.mock
async def test_the_broker_reads_the_result_and_what_was_paid(context: Context) -> None:
    respx.post(f"{BASE}/pin/file").respond(200, json=SAID)
    result = await store(context, data="hello")
    read = StoreResult.model_validate(result).model_dump(mode="json")
    assert read["upstream"] == result["upstream"] and read["cid"] == HASH and "ipfsHash" not in read


@respx.mock
async def test_an_upload_is_there_until_its_sender_drops_it(
    context: Context, storage: Storage, upstream: PlainUpstream
) -> None:
    upload = await storage.upload(_pieces(b"hel", b"lo"))
    pin = respx.post(f"{BASE}/pin/file").respond(500)
    with pytest.raises(UpstreamRefused):
        await store(context, upload=upload.id)
    pin.respond(200, json=SAID)  # the next provider, or the same one: the upload is still there
    assert (await store(context, upload=upload.id, filename="a.png"))["contentType"] == "image/png"
    assert upstream.files == [b"hello", b"hello"]
    await store(context, upload=upload.id)  # the executor died before it kept the result
    await storage.drop_upload(upload.id)
    with pytest.raises(NoSuchUpload):
        await store(context, upload=upload.id)


async def test_it_is_not_asked_for_what_it_does_not_offer(
    context: Context, upstream: PlainUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Openx402.max_bytes == 100_000_000
    with pytest.raises(NotOffered):
        await store(context, data="hello", permanent=True)
    monkeypatch.setattr(Openx402, "max_bytes", 4)
    with pytest.raises(NotOffered):
        await store(context, data="hello")
    assert upstream.sent == []


async def test_an_upstream_that_fails_is_passed_on_as_it_is(
    context: Context, upstream: PlainUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> None:
        raise UpstreamLost("nobody knows")

    monkeypatch.setattr(upstream, "send", lost)
    with pytest.raises(UpstreamLost):
        await store(context, data="hello")
    assert staged(tmp_path) == []


async def _pieces(*parts: bytes) -> Any:
    for part in parts:
        yield part
