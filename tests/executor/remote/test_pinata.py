"""Pinning at Pinata: its size is paid for, and the content goes to an address that is not trusted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from executor.providers.base import Context
from executor.providers.storage.pinata import Pinata
from executor.storage.storage import Storage
from executor.upstream.errors import UpstreamLost, UpstreamRefused
from tests.executor.remote.conftest import PAID, PlainUpstream, context_of, staged, task_of
from tests.support.internet import Internet, Page
from tests.support.standin import DROPPED, Answer, StandIn

BASE = "https://402.pinata.cloud/v1"
CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
UPLOADED = {"data": {"id": "f1", "name": "a.txt", "cid": CID, "size": 5}}


class Local(StandIn):
    """Pinata on this machine: sells an upload, and takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.said = Answer.of(UPLOADED)
        self.place = f"{self.url}/upload?signature=x"
        self.uploaded: list[bytes] = []

    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        if path == "/v1/pin/public":
            return Answer.of({"url": self.place})
        self.uploaded.append(body)
        return self.said


@pytest.fixture
def local() -> Iterator[Local]:
    made = Local()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def here(tmp_path: Path, upstream: PlainUpstream, storage: Storage, local: Local) -> Context:
    return context_of(tmp_path, upstream, storage, PINATA_URL=f"{local.url}/v1")


async def store(context: Context, pinata: Pinata | None = None, **body: Any) -> dict[str, Any]:
    task = task_of(context, "storage", "pinata", {"data": "hello", "filename": "a.txt", **body})
    result = await (pinata or Pinata(context)).execute(task)
    dumped: dict[str, Any] = result.model_dump(mode="json")
    return dumped


async def test_its_size_is_paid_for_and_then_it_is_uploaded(
    here: Context, upstream: PlainUpstream, local: Local, tmp_path: Path
) -> None:
    result = await store(here)
    (order, _) = upstream.sent[0]
    assert order.json == {"fileSize": 5, "name": "a.txt", "keyvalues": {}}
    (form,) = local.uploaded
    assert b'name="file"; filename="a.txt"' in form and b"\r\n\r\nhello\r\n" in form
    assert b'name="network"\r\n\r\npublic\r\n' in form
    assert (result["cid"], result["url"]) == (CID, f"https://gateway.pinata.cloud/ipfs/{CID}")
    assert (result["permanent"], result["expiresAt"], result["id"]) == (False, None, "f1")
    assert result["upstream"] == {**PAID, "localCid": result["upstream"]["localCid"], "id": "f1"}
    assert staged(tmp_path) == []


async def test_megabytes_are_uploaded_as_they_are(here: Context, local: Local, storage: Storage) -> None:
    content = bytes(range(256)) * 20_000

    async def pieces() -> Any:
        yield content

    upload = await storage.upload(pieces())
    assert (await store(here, upload=upload.id))["size"] == len(content)
    assert content in local.uploaded[0]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (Answer(200, b"<html>thanks</html>"), UpstreamRefused),
        (Answer.of({}), UpstreamRefused),
        (Answer.of({"data": None}), UpstreamRefused),
        (Answer.of({"data": {"cid": 7}}), UpstreamRefused),
        (Answer.of({"data": {"cid": "../x"}}), UpstreamRefused),
        (Answer.of({**UPLOADED, "success": False}), UpstreamRefused),
        (Answer.of({**UPLOADED, "padding": "x" * 70_000}), UpstreamRefused),
        (Answer.of(UPLOADED, 403), UpstreamRefused),
        (Answer.of(UPLOADED, 500), UpstreamRefused),
        (Answer(302, headers=(("Location", "/elsewhere"),)), UpstreamRefused),
        (DROPPED, UpstreamLost),
    ],
)
async def test_an_upload_that_is_answered_with_anything_else_fails(
    here: Context, local: Local, tmp_path: Path, said: Answer, error: type[Exception]
) -> None:
    local.said = said
    with pytest.raises(error) as failed:
        await store(here)
    assert "thanks" not in str(failed.value) and len(local.uploaded) == 1
    assert staged(tmp_path) == []


async def test_an_answer_that_drips_is_given_up(
    here: Context, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.providers.storage.pinata.UPLOAD_TIMEOUT_S", 0.3)
    local.said = Answer.of(UPLOADED, drip_s=0.05)
    with pytest.raises(UpstreamLost):
        await store(here)


@pytest.mark.parametrize(
    "url",
    [None, 7, "", "not a url", "http://files.example.org/up", "https://10.0.0.1/up", "file:///etc/passwd"],
)
async def test_one_of_this_machine_leads_nowhere_else(here: Context, local: Local, url: Any) -> None:
    local.place = url
    with pytest.raises(UpstreamRefused):
        await store(here)
    assert local.uploaded == []


@respx.mock
@pytest.mark.parametrize(
    "url",
    [
        "http://files.example.org/up",
        "https://127.0.0.1/up",
        "https://169.254.169.254/latest",
        "https://localhost/up",
        "https://user:pw@files.example.org/up",
        "https://files.example.org:8443/up",
        "https://inside.example.org/up",
        "ftp://files.example.org/up",
    ],
)
async def test_content_goes_to_no_address_that_is_not_public(
    context: Context, internet: Internet, url: str
) -> None:
    internet.names["inside.example.org"] = [["10.1.2.3"]]
    respx.post(f"{BASE}/pin/public").respond(200, json={"url": url})
    with pytest.raises(UpstreamRefused):
        await store(context, Pinata(context, internet.options()))
    assert internet.connected == []


@respx.mock
async def test_content_goes_to_a_public_address(context: Context, internet: Internet) -> None:
    respx.post(f"{BASE}/pin/public").respond(201, json={"url": internet.url_of("/up?s=1", "https")})
    internet.pages["POST /up?s=1"] = Page.of(json.dumps(UPLOADED).encode())
    assert (await store(context, Pinata(context, internet.options())))["cid"] == CID
    assert internet.heard[0].headers["content-type"].startswith("multipart/form-data")


@respx.mock
@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"url": ["https://files.example.org"]}),
        httpx.Response(402, json={}),
        httpx.Response(500, json={}),
    ],
)
async def test_a_sale_that_is_answered_with_anything_else_is_refused(
    context: Context, internet: Internet, answer: httpx.Response
) -> None:
    respx.post(f"{BASE}/pin/public").mock(return_value=answer)
    with pytest.raises(UpstreamRefused):
        await store(context, Pinata(context, internet.options()))
    assert internet.connected == []
