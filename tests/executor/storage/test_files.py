"""Uploads, stores and downloads over HTTP: the real service, on a folder and on S3."""

import base64
import hashlib
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.executor.storage.conftest import MB
from tests.support import programs
from tests.support.ports import free_port
from tests.support.s3 import S3Server
from tests.support.services import Process, clean_environment

EMPTY = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
"""The CID of nothing, as `ipfs add --cid-version=1` prints it."""


def started(home: Path, **env: str) -> Process:
    home.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), home / "executor.log"
    environment = clean_environment(
        GALAKSIO_HOME=str(home), EXECUTOR_PORT=str(port), EXECUTOR_POOL="0", STORAGE_RESERVE_BYTES="0", **env
    )
    with log.open("ab") as output:
        program = programs.start("executor", env=environment, cwd=home, stdout=output)
    return Process("executor", f"http://127.0.0.1:{port}", log, program).wait_ready()


def client(process: Process) -> httpx.Client:
    return httpx.Client(base_url=process.url, timeout=60, trust_env=False, verify=False)


def provider_row(http: httpx.Client) -> dict[str, Any]:
    """What `GET /providers` says of the embedded store."""
    rows: list[dict[str, Any]] = http.get("/providers").json()["providers"]
    return next(row for row in rows if (row["kind"], row["name"]) == ("storage", "local"))


@pytest.fixture(scope="module", params=["folder", "s3"])
def executor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    env = {"MAX_UPLOAD_MB": "12"}
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        env = {**env, **server.environment, "STORAGE_URL": f"s3://{server.new_bucket()}/content"}
    process = started(tmp_path_factory.mktemp("executor"), **env)
    yield process
    process.stop()


@pytest.fixture
def http(executor: Process) -> Iterator[httpx.Client]:
    with client(executor) as made:
        yield made


def random_bytes(size_bytes: int) -> bytes:
    return uuid.uuid4().bytes * (size_bytes // 16 + 1)


def store(http: httpx.Client, job_id: str | None = None, **fields: Any) -> httpx.Response:
    task = {"jobId": job_id or uuid.uuid4().hex, "taskType": "store", "provider": "local", **fields}
    return http.post("/execute", json=task)


def stored(http: httpx.Client, content: bytes, **fields: Any) -> dict[str, Any]:
    """The result of storing an upload."""
    upload = http.put("/uploads", content=content).raise_for_status().json()["uploadId"]
    answer = store(http, upload=upload, **fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["result"])


def test_an_upload_is_stored_and_downloaded_as_it_was(http: httpx.Client) -> None:
    content = random_bytes(11 * MB)[: 11 * MB]
    upload = http.put("/uploads", content=content)
    assert upload.status_code == 201
    info = upload.json()
    assert (info["sizeBytes"], info["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert info["expiresAt"].endswith("Z")
    assert http.get(f"/files/{info['cid']}").status_code == 404
    result = store(http, upload=info["uploadId"], filename="big.bin", ttl=600).json()["result"]
    assert result == {
        "cid": info["cid"],
        "url": f"/files/{info['cid']}",
        "provider": "local",
        "size": len(content),
        "permanent": False,
        "expiresAt": result["expiresAt"],
        "sha256": info["sha256"],
        "contentType": "application/octet-stream",
        "filename": "big.bin",
    }
    answer = http.get(result["url"])
    assert answer.content == content
    assert answer.headers["etag"] == f'"{info["cid"]}"'
    assert answer.headers["content-length"] == str(len(content))


def test_an_upload_may_come_without_a_length(http: httpx.Client) -> None:
    content = random_bytes(3 * MB)
    upload = http.put(
        "/uploads", content=(content[at : at + 10_000] for at in range(0, len(content), 10_000))
    )
    assert upload.json()["sizeBytes"] == len(content)


def test_nothing_is_content_too(http: httpx.Client) -> None:
    result = stored(http, b"")
    assert (result["cid"], result["size"]) == (EMPTY, 0)
    answer = http.get(result["url"])
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    assert http.get(result["url"], headers={"Range": "bytes=0-"}).status_code == 416


def test_an_upload_over_the_limit_is_413_with_and_without_a_length(http: httpx.Client) -> None:
    large = bytes(12 * MB + 1)
    for content in (large, iter([large[: 6 * MB], large[6 * MB :]])):
        answer = http.put("/uploads", content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert http.post("/execute", content=bytes(11 * MB)).status_code == 413  # only uploads may be larger


def test_an_upload_that_is_cut_off_leaves_nothing(executor: Process, http: httpx.Client) -> None:
    staging = executor.log.parent / "content" / "staging"

    def until(something_is_staged: bool) -> None:
        deadline = time.monotonic() + 20
        while bool(list(staging.glob("*/*"))) is not something_is_staged:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    for head in ("Content-Length: 5000000", "Transfer-Encoding: chunked"):
        with socket.create_connection(("127.0.0.1", int(executor.url.rpartition(":")[2]))) as raw:
            raw.sendall(f"PUT /uploads HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
            raw.sendall(b"200000\r\n" + bytes(MB))
            until(something_is_staged=True)
        until(something_is_staged=False)
    assert http.get("/health").status_code == 200
    assert "unexpected_error" not in executor.output() and "Traceback" not in executor.output()


def test_a_dropped_upload_cannot_be_stored(http: httpx.Client) -> None:
    upload = http.put("/uploads", content=random_bytes(100)).json()["uploadId"]
    assert [http.delete(f"/uploads/{upload}").status_code for _ in range(2)] == [204, 204]
    answer = store(http, job_id="dropped", upload=upload)
    assert (answer.status_code, answer.json()["code"]) == (404, "upload_not_found")
    assert (answer.json()["jobId"], answer.json()["status"]) == ("dropped", "failed")


@pytest.mark.parametrize(
    ("fields", "content", "content_type"),
    [
        ({"data": "aGVsbG8="}, b"aGVsbG8=", "text/plain; charset=utf-8"),
        ({"data": "aGVsbG8=", "encoding": "base64"}, b"hello", "application/octet-stream"),
        ({"data": "aGVsbG8=", "isBase64": True}, b"hello", "application/octet-stream"),
        ({"data": "aGVsbG8=", "options": {"encoding": "base64"}}, b"hello", "application/octet-stream"),
        ({"fileInline": "aGVsbG8=", "filename": "a.png"}, b"hello", "image/png"),
        ({"data": "grüße ☂"}, "grüße ☂".encode(), "text/plain; charset=utf-8"),
        ({"data": {"a": [1, "ü"]}}, '{"a":[1,"ü"]}'.encode(), "application/json"),
        ({"data": [1]}, b"[1]", "application/json"),
        ({"data": 0}, b"0", "application/json"),
        ({"data": ""}, b"", "text/plain; charset=utf-8"),
        ({"data": "x", "contentType": "Text/CSV; charset=UTF-8"}, b"x", "text/csv; charset=utf-8"),
    ],
)
def test_data_is_stored_as_what_it_is(
    http: httpx.Client, fields: dict[str, Any], content: bytes, content_type: str
) -> None:
    result = store(http, **fields).json()["result"]
    assert result["contentType"] == content_type
    assert http.get(result["url"]).content == content


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({}, 400, "data_required"),
        ({"data": None}, 400, "data_required"),
        ({"data": "aGVsbG8", "encoding": "base64"}, 400, "invalid_base64"),
        ({"data": "aGVs\nbG8=", "encoding": "base64"}, 400, "invalid_base64"),
        ({"data": "grüße", "encoding": "base64"}, 400, "invalid_base64"),
        ({"data": "x", "encoding": "hex"}, 400, "invalid_request"),
        ({"data": "x", "ttl": 0}, 400, "invalid_request"),
        ({"data": "x", "ttl": 10**12}, 400, "invalid_request"),
        ({"data": "x", "contentType": "text/html\r\nX-Evil: 1"}, 400, "invalid_request"),
        ({"data": "x", "maxBytes": 0}, 413, "content_too_large"),
        ({"upload": "nobody"}, 404, "upload_not_found"),
        ({"url": "http://127.0.0.1/"}, 400, "url_not_allowed"),
        ({"data": {"url": "file:///etc/passwd"}}, 400, "url_not_allowed"),
    ],
)
def test_what_cannot_be_stored_is_told_in_a_sentence(
    http: httpx.Client, fields: dict[str, Any], status: int, code: str
) -> None:
    answer = store(http, **fields)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_half_a_character_is_422(http: httpx.Client) -> None:
    body = b'{"jobId":"half","taskType":"store","provider":"local","data":"\\ud800"}'
    answer = http.post("/execute", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_text")


def test_the_same_job_again_returns_the_kept_result(http: httpx.Client) -> None:
    first = store(http, "again", data="once")
    assert store(http, "again", data="once").json() == first.json()
    conflict = store(http, "again", data="twice")
    assert (conflict.status_code, conflict.json()["code"]) == (409, "job_id_conflict")


def test_an_undone_job_leaves_no_content_and_is_not_run_again(http: httpx.Client) -> None:
    task = {"taskType": "store", "provider": "local"}
    cid = store(http, "undone", data="to be taken back").json()["result"]["cid"]
    for _ in range(2):
        answer = http.post("/undo", json={"jobId": "undone", **task})
        assert (answer.status_code, answer.json()["status"]) == (200, "undone")
        assert answer.json()["jobId"] == "undone"
    assert http.get(f"/files/{cid}").status_code == 404
    again = store(http, "undone", data="to be taken back")
    assert (again.status_code, again.json()["code"]) == (409, "job_undone")
    http.post("/undo", json={"jobId": "before", **task}).raise_for_status()
    assert store(http, "before", data="too late").json()["code"] == "job_undone"


@pytest.mark.parametrize(
    "body",
    [None, {}, {"jobId": "x"}, {"jobId": "x", "taskType": "store"}, {"jobId": 1, "taskType": "store"}],
)
def test_an_undo_that_names_no_job_is_400(http: httpx.Client, body: Any) -> None:
    assert http.post("/undo", json=body).status_code == 400


def test_a_run_can_be_undone_too_and_its_result_is_gone(http: httpx.Client) -> None:
    run = {"jobId": "run", "taskType": "run", "provider": "local"}
    assert http.post("/undo", json=run).status_code == 200
    answer = http.post("/execute", json={**run, "code": "print(1)"})
    assert (answer.status_code, answer.json()["code"]) == (409, "job_undone")


def test_content_is_410_once_expired_and_404_when_it_never_was(http: httpx.Client) -> None:
    cid = store(http, data="for a moment", ttl=3).json()["result"]["cid"]
    assert http.get(f"/files/{cid}").status_code == 200
    deadline = time.monotonic() + 20
    while (gone := http.get(f"/files/{cid}")).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (gone.status_code, gone.json()["code"]) == (410, "content_expired")
    never = http.get("/files/bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4")
    assert (never.status_code, never.json()["code"]) == (404, "content_not_found")


@pytest.mark.parametrize(
    "text", ["nonsense", EMPTY.upper(), EMPTY[:-1], f"{EMPTY}.abc", "..%2f..%2fexecutor.sqlite"]
)
def test_what_is_no_cid_is_400_or_404(http: httpx.Client, text: str) -> None:
    answer = http.get(f"/files/{text}")
    assert answer.status_code in (400, 404)
    assert answer.json()["code"] in ("invalid_cid", "not_found")


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=100-", 206, 100, None),
        ("bytes=-7", 206, -7, None),
        ("bytes=1048570-1048580", 206, 1048570, 1048581),
        ("bytes=5-99999999999", 206, 5, None),
        ("bytes=0-1,5-6", 200, 0, None),
        ("pages=1-2", 200, 0, None),
        ("bytes=7-3", 200, 0, None),
        ("bytes=-", 200, 0, None),
    ],
)
def test_a_range_is_exactly_that_part(
    http: httpx.Client, asked: str, status: int, start: int, end: int | None
) -> None:
    content = bytes(range(256)) * 8192  # 2 MB
    url = stored(http, content)["url"]
    answer = http.get(url, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (status, content[start:end])
    assert answer.headers["accept-ranges"] == "bytes"
    if status == 206:
        first = start % len(content)
        last = first + len(answer.content) - 1
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(content)}"
    head = http.head(url, headers={"Range": asked})
    assert (head.status_code, head.content) == (status, b"")
    assert head.headers["content-length"] == str(len(content[start:end]))


@pytest.mark.parametrize("asked", ["bytes=11-", "bytes=99-100", "bytes=-0"])
def test_a_range_behind_the_end_is_416(http: httpx.Client, asked: str) -> None:
    url = stored(http, b"hello world")["url"]
    answer = http.get(url, headers={"Range": asked})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */11")


def test_a_known_entity_is_304_and_a_range_of_another_one_is_the_whole(http: httpx.Client) -> None:
    result = stored(http, b"hello world")
    url, etag = result["url"], f'"{result["cid"]}"'
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        known = http.get(url, headers={"If-None-Match": given})
        assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", etag)
    assert http.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
    asked = {"Range": "bytes=0-4"}
    assert http.get(url, headers={**asked, "If-Range": etag}).content == b"hello"
    for other in ('"other"', "Sat, 21 Nov 2026 00:00:00 GMT"):
        assert http.get(url, headers={**asked, "If-Range": other}).content == b"hello world"


def test_how_long_it_may_be_cached_is_how_long_it_is_there(http: httpx.Client) -> None:
    temporary = stored(http, b"for ten minutes", ttl=600)["url"]
    seconds = int(http.get(temporary).headers["cache-control"].removeprefix("public, max-age="))
    assert 590 <= seconds <= 600
    result = stored(http, b"for good", permanent=True)
    assert result["expiresAt"] is None
    assert http.get(result["url"]).headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("content_type", "served", "how"),
    [
        ("image/png", "image/png", "inline"),
        ("video/mp4", "video/mp4", "inline"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8", "inline"),
        ("text/html", "text/html", "attachment"),
        ("image/svg+xml", "image/svg+xml", "attachment"),
        ("application/xhtml+xml", "application/xhtml+xml", "attachment"),
        ("text/javascript", "text/plain; charset=utf-8", "attachment"),
        ("application/x-javascript", "text/plain; charset=utf-8", "attachment"),
        ("application/octet-stream", "application/octet-stream", "attachment"),
    ],
)
def test_nothing_that_is_stored_runs_in_our_origin(
    http: httpx.Client, content_type: str, served: str, how: str
) -> None:
    content = f"<script>{content_type}</script>".encode()
    headers = http.get(stored(http, content, contentType=content_type)["url"]).headers
    assert headers["content-type"] == served
    assert headers["content-disposition"] == how
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert headers["cross-origin-resource-policy"] == "cross-origin"


@pytest.mark.parametrize(
    ("name", "kept", "disposition"),
    [
        ("plain.txt", "plain.txt", 'filename="plain.txt"'),
        ("/etc/../a\\b/c.txt", "c.txt", 'filename="c.txt"'),
        ('a"; x=y\r\nSet-Cookie: 1.txt', 'a"; x=ySet-Cookie: 1.txt', None),
        ("größe ☂.txt", "größe ☂.txt", None),
        ("evil\u202etxt.exe", "eviltxt.exe", 'filename="eviltxt.exe"'),
    ],
)
def test_a_file_name_comes_back_safely(
    http: httpx.Client, name: str, kept: str, disposition: str | None
) -> None:
    result = stored(http, random_bytes(20), filename=name)
    assert result["filename"] == kept
    given = http.get(result["url"]).headers["content-disposition"]
    how, _, rest = given.partition("; ")
    assert how in ("inline", "attachment")
    if disposition:
        assert rest == disposition
    else:
        plain, _, encoded = rest.partition("; filename*=UTF-8''")
        assert plain.isascii() and plain.count('"') == 2
        assert httpx.URL(f"http://x/{encoded}").path == f"/{kept}"


def test_a_stranger_can_check_the_bytes_against_the_cid(http: httpx.Client) -> None:
    """One block: its hash is the CID's. The reader of whole CARs is in tests/shared/ipfs."""
    result = stored(http, b"one block")
    raw = http.get(result["url"], params={"format": "raw"})
    digest = base64.b32decode(result["cid"][1:].upper() + "======")[4:]
    assert hashlib.sha256(raw.content).digest() == digest
    assert raw.headers["content-type"] == "application/vnd.ipld.raw"
    assert raw.headers["etag"] == f'"{result["cid"]}.raw"'
    assert raw.headers["x-content-type-options"] == "nosniff"
    by_accept = http.get(result["url"], headers={"Accept": "application/vnd.ipld.raw"})
    assert by_accept.content == raw.content and by_accept.headers["vary"] == "Accept"
    unknown = http.get(result["url"], params={"format": "tar"})
    assert (unknown.status_code, unknown.json()["code"]) == (400, "unknown_format")


def test_a_car_of_many_blocks_holds_all_of_the_content(http: httpx.Client) -> None:
    content = random_bytes(3 * MB)
    result = stored(http, content)
    car = http.get(result["url"], params={"format": "car"})
    assert car.headers["content-type"] == "application/vnd.ipld.car; version=1; order=dfs; dups=y"
    assert car.headers["etag"] == f'"{result["cid"]}.car"'
    root = http.get(result["url"], params={"format": "raw"}).content
    digest = base64.b32decode(result["cid"][1:].upper() + "======")[4:]
    assert hashlib.sha256(root).digest() == digest
    assert root in car.content and content[: 256 * 1024] in car.content
    assert len(car.content) > len(content)
    for format in ("car", "raw"):
        known = {"If-None-Match": f'"{result["cid"]}.{format}"'}
        assert http.get(result["url"], params={"format": format}, headers=known).status_code == 304
        head = http.head(result["url"], params={"format": format})
        assert (head.status_code, head.content) == (200, b"")


def test_measuring_refuses_what_fetching_refuses(http: httpx.Client) -> None:
    answer = http.post("/measure", json={"url": "http://169.254.169.254/latest/meta-data"})
    assert (answer.status_code, answer.json()["code"]) == (400, "url_not_allowed")
    assert http.post("/measure", json={}).status_code == 422


def test_the_provider_tells_that_it_takes_content(http: httpx.Client) -> None:
    row = provider_row(http)
    assert (row["name"], row["status"], row["accepting"], row["sellable"]) == (
        "local",
        "available",
        True,
        True,
    )
    assert http.get("/health/ready").json()["dependencies"]["storage/local"]["status"] == "healthy"


def test_strangers_are_kept_out_of_every_route(tmp_path: Path) -> None:
    process = started(tmp_path / "home", INTERNAL_API_TOKEN="secret")
    try:
        with client(process) as stranger:
            answers = [
                stranger.put("/uploads", content=b"x"),
                stranger.delete("/uploads/x"),
                stranger.get(f"/files/{EMPTY}"),
                stranger.post("/measure", json={"url": "http://example.com"}),
                stranger.post("/undo", json={"jobId": "x", "taskType": "store", "provider": "local"}),
            ]
        assert {answer.status_code for answer in answers} == {401}
    finally:
        process.stop()


def test_a_host_without_room_says_so_and_takes_nothing(tmp_path: Path) -> None:
    process = started(tmp_path / "home", STORAGE_MAX_BYTES="1000")
    try:
        with client(process) as http:
            refused = http.put("/uploads", content=bytes(1001))
            assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
            assert "retry-after" in refused.headers
            row = provider_row(http)
            assert (row["accepting"], row["retryAfterS"], row["freeBytes"]) == (False, 60, 1000)
            assert http.put("/uploads", content=iter([bytes(1001)])).status_code == 507
        left = [path for path in (tmp_path / "home" / "content").rglob("*") if path.is_file()]
        assert [path.suffix for path in left] == [".lock"]
    finally:
        process.stop()


def test_content_outlives_a_restart(tmp_path: Path) -> None:
    process = started(tmp_path / "home")
    with client(process) as http:
        url = stored(http, b"still there", permanent=True)["url"]
    process.stop()
    process = started(tmp_path / "home")
    try:
        with client(process) as http:
            assert http.get(url).content == b"still there"
    finally:
        process.stop()
