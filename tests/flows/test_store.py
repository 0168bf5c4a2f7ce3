"""The paid store, end to end: real services, real signatures, content that a stranger can check."""

import base64
import hashlib
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from x402 import x402Client
from x402.http.clients import x402HttpxClient
from x402.mechanisms.evm.exact.register import register_exact_evm_client

from shared.ipfs import Builder
from tests.flows.old_client import needs_old_client, paid_by_old_client
from tests.flows.test_paid_run import price_of
from tests.support.services import Stack, running_stack
from tests.support.wallets import Wallet, funded_wallet, receipt_of

HELLO_CID = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"
"""`hello world` and a newline, as the IPFS documentation has it."""


def cid_of(content: bytes) -> str:
    builder = Builder()
    builder.update(content)
    return builder.finish().cid


def store(http: httpx.Client, wallet: Wallet, version: int = 2, **request: Any) -> dict[str, Any]:
    """Ask, pay, and return the result."""
    challenge = http.post("/store", **request)
    assert challenge.status_code == 402, challenge.text
    headers = wallet.pay_v1(challenge) if version == 1 else wallet.pay_v2(challenge)
    answer = http.post("/store", headers=headers, **request)
    assert answer.status_code == 200, answer.text
    assert receipt_of(answer)["success"] is True
    result: dict[str, Any] = answer.json()["result"]
    return result


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.02)


def kept(stack: Stack) -> list[Path]:
    """The files of all content that is stored, and of what is on its way."""
    return [path for path in (stack.home / "content").rglob("*") if path.is_file() and path.suffix != ".lock"]


async def test_the_packages_v2_client_pays_for_a_file_and_anybody_gets_it_back(
    stack: Stack, wallet: Wallet
) -> None:
    content = secrets.token_bytes(700_000)
    before = stack.balance(wallet.address)
    payer = x402Client()
    register_exact_evm_client(payer, wallet.account)
    async with x402HttpxClient(payer, base_url=stack.broker, timeout=90) as client:
        response = await client.post(
            "/store", data={"permanent": "true"}, files={"file": ("a b.bin", content, "image/png")}
        )
    assert response.status_code == 200, response.text
    body = response.json()
    result = body["result"]
    assert (body["status"], body["provider"]) == ("completed", "local")
    assert result["cid"] == cid_of(content)
    assert result["url"] == f"{stack.broker}/files/{result['cid']}"
    assert (result["size"], result["permanent"], result["expiresAt"]) == (len(content), True, None)
    assert result["sha256"] == hashlib.sha256(content).hexdigest()
    assert before - stack.balance(wallet.address) == round(float(body["price_usd"]) * 1e6) > 0
    fetched = httpx.get(result["url"], trust_env=False, verify=False, timeout=60)
    assert fetched.content == content
    assert fetched.headers["Content-Type"] == "image/png"
    assert "immutable" in fetched.headers["Cache-Control"]


@needs_old_client
def test_an_old_v1_client_pays_for_a_text(stack: Stack, wallet: Wallet, http: httpx.Client) -> None:
    body = paid_by_old_client(stack, "/store", wallet, {"data": "hello world\n", "filename": "h.txt"})
    assert body["result"]["cid"] == HELLO_CID
    assert http.get(f"/ipfs/{HELLO_CID}").text == "hello world\n"


@pytest.mark.parametrize(
    ("fields", "content", "content_type"),
    [
        ({"data": "aGVsbG8="}, b"aGVsbG8=", "text/plain; charset=utf-8"),
        ({"data": "aGVsbG8=", "encoding": "base64"}, b"hello", "application/octet-stream"),
        ({"data": {"b": [1, "ü"]}}, '{"b":[1,"ü"]}'.encode(), "application/json"),
        ({"data": "x", "filename": "a.json"}, b"x", "application/json"),
        ({"data": ""}, b"", "text/plain; charset=utf-8"),
    ],
)
def test_json_is_kept_as_it_was_meant(
    http: httpx.Client, wallet: Wallet, fields: dict[str, Any], content: bytes, content_type: str
) -> None:
    result = store(http, wallet, 1, json=fields)
    assert (result["cid"], result["size"]) == (cid_of(content), len(content))
    fetched = http.get(result["url"])
    assert (fetched.content, fetched.headers["Content-Type"]) == (content, content_type)


def test_what_is_not_base64_is_refused_before_a_price_is_named(http: httpx.Client) -> None:
    for fields, code in (
        ({"data": "a*b", "encoding": "base64"}, "invalid_base64"),
        ({}, "data_required"),
        ({"data": "x", "ttl": 0}, "invalid_request"),
        ({"data": "x", "options": {"ttl": "soon"}}, "invalid_request"),
        ({"upload": "0" * 32}, "data_required"),
    ):
        answer = http.post("/store", json=fields)
        assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text


def test_permanent_costs_more_and_a_temporary_content_is_gone_when_its_time_is_over(
    stack: Stack, http: httpx.Client, wallet: Wallet
) -> None:
    content, other = secrets.token_hex(50_000), secrets.token_hex(50_000)
    asked = {"data": content, "options": {"ttl": 2}}
    cheap = price_of(http.post("/store", json=asked))
    dear = price_of(http.post("/store", json={**asked, "options": {"permanent": True}}))
    assert dear > cheap
    # Two seconds may pass before one can look: what is not gone yet is seen with more time.
    lasting = store(http, wallet, json={"data": other, "options": {"ttl": 60}})
    assert http.get(lasting["url"]).text == other
    result = store(http, wallet, json=asked)
    ends = datetime.fromisoformat(result["expiresAt"])
    while (gone := http.get(result["url"])).status_code == 200:
        assert datetime.now(UTC) < ends + timedelta(seconds=20), "it does not go"
        time.sleep(0.1)
    assert (gone.status_code, gone.json()["code"]) == (410, "content_expired")
    assert datetime.now(UTC) >= ends
    again = store(http, wallet, json={**asked, "options": {"permanent": True}})
    assert again["cid"] == result["cid"]
    assert http.get(result["url"]).text == content


def test_options_behind_the_file_count_as_well(http: httpx.Client, wallet: Wallet) -> None:
    """As `curl -F file=@x -F permanent=true` sends them."""
    parts: list[tuple[str, Any]] = [
        ("file", ("x.txt", secrets.token_hex(1000).encode(), "text/plain")),
        ("permanent", (None, "true")),
    ]
    assert store(http, wallet, files=parts)["permanent"] is True
    first = [("ttl", (None, "60")), *parts[:1]]
    assert store(http, wallet, files=first)["permanent"] is False


def test_a_large_upload_is_told_its_price_before_it_is_sent(stack: Stack) -> None:
    head = (
        b'--b\r\nContent-Disposition: form-data; name="ttl"\r\n\r\n3600\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    )
    with socket.create_connection(("127.0.0.1", stack.ports["broker"]), 60) as raw:
        raw.sendall(
            b"POST /store HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: 90000000\r\n\r\n" + head + b"x" * 1000
        )
        answer = raw.recv(65536)
        while not answer.endswith(b"}"):
            answer += raw.recv(65536)
    head, _, told = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 402 ")
    # Time enough to send it all over a slow line before the signature runs out.
    assert json.loads(told)["accepts"][0]["maxTimeoutSeconds"] > 90_000_000 / 250_000


def test_the_same_authorization_stores_once_and_never_something_else(
    stack: Stack, http: httpx.Client, wallet: Wallet
) -> None:
    content = secrets.token_bytes(300_000)
    request: dict[str, Any] = {"data": {"ttl": "600"}, "files": {"file": ("x", content)}}
    headers = wallet.pay_v2(http.post("/store", **request))
    before = stack.balance(wallet.address)
    first = http.post("/store", headers=headers, **request)
    assert first.status_code == 200, first.text
    files = set(kept(stack))
    again = http.post("/store", headers=headers, **request)
    assert (again.status_code, again.content) == (200, first.content)
    assert before - stack.balance(wallet.address) == round(float(first.json()["price_usd"]) * 1e6)
    other = {**request, "files": {"file": ("x", secrets.token_bytes(300_000))}}
    refused = http.post("/store", headers=headers, **other)
    assert (refused.status_code, refused.json()["code"]) == (409, "authorization_used")
    # What came to nothing goes after its answer, and content of other tests when its time is over.
    wait_until(lambda: set(kept(stack)) <= files, "nothing else is kept")
    assert http.get(first.json()["result"]["url"]).content == content


def test_a_stranger_can_check_the_content_and_no_script_runs_in_our_name(
    http: httpx.Client, wallet: Wallet
) -> None:
    page = b"<script>alert(document.domain)</script>" + secrets.token_bytes(600_000)
    result = store(http, wallet, data={"ttl": "60"}, files={"file": ('../e"vil.html', page, "text/html")})
    fetched = http.get(result["url"])
    assert fetched.headers["Content-Disposition"].startswith("attachment;")
    assert "sandbox" in fetched.headers["Content-Security-Policy"]
    assert fetched.headers["X-Content-Type-Options"] == "nosniff"
    assert ".." not in fetched.headers["Content-Disposition"]
    part = http.get(result["url"], headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, page[5:10])
    unchanged = http.get(result["url"], headers={"If-None-Match": fetched.headers["ETag"]})
    assert unchanged.status_code == 304
    head = http.head(result["url"])
    assert (head.headers["Content-Length"], head.content) == (str(len(page)), b"")
    raw = http.get(result["url"], params={"format": "raw"})
    digest = base64.b32decode(result["cid"][1:].upper() + "=" * (-len(result["cid"][1:]) % 8))[4:]
    assert hashlib.sha256(raw.content).digest() == digest
    car = http.get(result["url"], params={"format": "car"})
    assert car.headers["Content-Type"].startswith("application/vnd.ipld.car")
    assert raw.content in car.content and page[:262_144] in car.content


def test_addresses_that_are_no_content_are_told_from_content_that_is_not_here(http: httpx.Client) -> None:
    assert http.get("/files/../../etc/passwd").status_code == 404
    assert http.get("/files/nonsense").json()["code"] == "invalid_cid"
    unknown = http.get(f"/files/{cid_of(secrets.token_bytes(10))}")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "content_not_found")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A host that takes files of 1 MB, and has room for two of them and a half."""
    settings = {"MAX_UPLOAD_MB": "1", "STORAGE_MAX_BYTES": "2500000"}
    with running_stack(tmp_path_factory.mktemp("small"), **settings) as running:
        yield running


def test_a_file_over_the_limit_costs_nothing_and_leaves_nothing(small: Stack) -> None:
    wallet = funded_wallet(small.devnet)
    with httpx.Client(base_url=small.broker, timeout=60, trust_env=False, verify=False) as http:
        large: dict[str, Any] = {"data": {"ttl": "60"}, "files": {"file": ("x", bytes(3 << 20))}}
        assert http.post("/store", **large).status_code == 413
        # A little over: within what the body may have besides, seen when the file is counted.
        over: dict[str, Any] = {"data": {"ttl": "60"}, "files": {"file": ("x", bytes((1 << 20) + 1))}}
        challenge = http.post("/store", **over)
        answer = http.post("/store", headers=wallet.pay_v2(challenge), **over)
        assert answer.status_code == 413, answer.text
    assert small.balance(wallet.address) == 100_000_000
    wait_until(lambda: kept(small) == [], "nothing is left")


def test_an_upload_that_is_cut_off_leaves_nothing_and_is_not_charged(small: Stack) -> None:
    wallet = funded_wallet(small.devnet)
    content = secrets.token_bytes(500_000)
    request = httpx.Request(
        "POST", small.broker + "/store", data={"ttl": "60"}, files={"file": ("x", content)}
    )
    body = request.read()
    with httpx.Client(timeout=60, trust_env=False, verify=False) as http:
        challenge = http.send(request)
    (header,) = wallet.pay_v2(challenge).items()
    with socket.create_connection(("127.0.0.1", small.ports["broker"]), 60) as raw:
        raw.sendall(
            f"POST /store HTTP/1.1\r\nHost: x\r\n{header[0]}: {header[1]}\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
            + body[:300_000]
        )
        wait_until(lambda: kept(small) != [], "it is on its way")
    wait_until(lambda: kept(small) == [], "nothing is left")
    assert small.balance(wallet.address) == 100_000_000
    with httpx.Client(base_url=small.broker, timeout=60, trust_env=False, verify=False) as http:
        whole = http.post(
            "/store",
            headers={**dict([header]), "Content-Type": request.headers["Content-Type"]},
            content=body,
        )
    assert whole.status_code == 200, whole.text


def test_content_for_which_there_is_no_room_is_not_charged_and_leaves_nothing(small: Stack) -> None:
    wallet = funded_wallet(small.devnet)
    with httpx.Client(base_url=small.broker, timeout=60, trust_env=False, verify=False) as http:
        spent, answers = 0, []
        for _ in range(3):
            files = set(kept(small))
            request: dict[str, Any] = {
                "data": {"ttl": "600"},
                "files": {"file": ("x", secrets.token_bytes(900_000))},
            }
            challenge = http.post("/store", **request)
            assert challenge.status_code == 402, challenge.text
            answers.append(http.post("/store", headers=wallet.pay_v2(challenge), **request))
            spent += price_of(challenge) if answers[-1].status_code == 200 else 0
        assert [answer.status_code for answer in answers] == [200, 200, 507]
        assert answers[-1].json()["code"] == "storage_full"
        wait_until(lambda: set(kept(small)) <= files, "nothing else is kept")
        assert small.balance(wallet.address) == 100_000_000 - spent
        assert http.get(answers[0].json()["result"]["url"]).status_code == 200


def test_a_host_without_redis_sells_no_caches(http: httpx.Client) -> None:
    answer = http.post("/cache", json={})
    assert (answer.status_code, answer.json()["code"]) == (503, "no_providers")
    assert "accepts" not in answer.json()
