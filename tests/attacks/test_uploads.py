"""Bodies no honest client sends: stored as what they say, or refused, and then nothing is left of them."""

import gzip
import json
import secrets
from typing import Any

import httpx
import pytest

from tests.attacks.stores import Untouched, asked, paid, payments
from tests.support.multipart import BOUNDARY, FORM, field, file, form, part
from tests.support.services import Stack
from tests.support.wallets import Wallet

CONTENT = b"some \r\n--b0undar content"
FILE = file(CONTENT)

Body = tuple[str | bytes, bytes]


def behind(boundary: str) -> str:
    return f"multipart/form-data; boundary={boundary}"


REFUSED: dict[str, tuple[str, Body]] = {
    "no boundary": ("invalid_multipart", ("multipart/form-data", form(FILE))),
    "empty boundary": ("invalid_multipart", (behind(""), form(FILE))),
    "boundary of 71": ("invalid_multipart", (behind("a" * 71), form(FILE, boundary=b"a" * 71))),
    "boundary of 9,000": ("invalid_multipart", (behind("a" * 9000), form(FILE, boundary=b"a" * 9000))),
    "extended boundary": ("invalid_multipart", ("multipart/form-data; boundary*=x''b0undary", form(FILE))),
    "two boundaries": ("invalid_multipart", (f"{FORM}; boundary=other", form(FILE))),
    "thousands of parts": (
        "invalid_multipart",
        (FORM, form(*(field(b"f%d" % n, b"x") for n in range(5000)), FILE)),
    ),
    "thousands of parts behind": (
        "invalid_multipart",
        (FORM, form(FILE, *(field(b"f%d" % n, b"x") for n in range(5000)))),
    ),
    "many headers": ("invalid_multipart", (FORM, form(file(b"x", b"x", *[b"X: y"] * 50)))),
    "huge header": ("invalid_multipart", (FORM, form(file(b"x", b"x", b"X: " + b"y" * 20_000)))),
    "huge name of a header": ("invalid_multipart", (FORM, form(file(b"x", b"x", b"X" * 20_000 + b": y")))),
    "header without colon": ("invalid_multipart", (FORM, form(file(b"x", b"x", b"nothing")))),
    "folded header": ("invalid_multipart", (FORM, form(file(b"x", b"x", b"X: a\r\n b")))),
    "no disposition": ("invalid_multipart", (FORM, form(b"\r\nhello"))),
    "bare line feeds": ("invalid_multipart", (FORM, form(FILE).replace(b"\r\n", b"\n"))),
    "text before": ("invalid_multipart", (FORM, b"hello\r\n" + form(FILE))),
    "missing end": ("upload_incomplete", (FORM, form(FILE, end=b""))),
    "half an end": ("upload_incomplete", (FORM, form(FILE, end=b"-"))),
    "nothing at all": ("upload_incomplete", (FORM, b"")),
    "two files": ("one_file", (FORM, form(FILE, FILE))),
    "two files by other names": ("one_file", (FORM, form(FILE, part(b'; name="b"; filename="y"', b"z")))),
    "a field twice": ("invalid_multipart", (FORM, form(field(b"ttl", b"5"), field(b"ttl", b"6"), FILE))),
    "a field twice, around": (
        "invalid_multipart",
        (FORM, form(field(b"ttl", b"5"), FILE, field(b"ttl", b"6"))),
    ),
    "long field": ("invalid_multipart", (FORM, form(field(b"ttl", b"5" * 20_000), FILE))),
    "file name not UTF-8": ("invalid_multipart", (FORM, form(file(b"x", b"\xff\xfe")))),
    "field name not UTF-8": ("invalid_multipart", (FORM, form(field(b"\xff", b"1"), FILE))),
    "field not UTF-8": ("invalid_multipart", (FORM, form(field(b"ttl", b"\xff"), FILE))),
    "type not UTF-8": ("invalid_multipart", (FORM, form(file(b"x", b"x", b"Content-Type: a/\xff")))),
    "type that is none": ("invalid_request", (FORM, form(file(b"x", b"x", b"Content-Type: nonsense")))),
    "type with a line break": (
        "invalid_request",
        (FORM, form(field(b"contentType", b"text/html\r\nSet-Cookie: a=b"), FILE)),
    ),
    "no file": ("data_required", (FORM, form(field(b"ttl", b"5")))),
    "no parts": ("data_required", (FORM, form())),
    "ttl of 30 digits": ("invalid_request", (FORM, form(field(b"ttl", b"9" * 30), FILE))),
    "ttl of 5,000 digits": ("invalid_request", (FORM, form(field(b"ttl", b"9" * 5000), FILE))),
    "ttl that is negative": ("invalid_request", (FORM, form(FILE, field(b"ttl", b"-1")))),
    "ttl that is no number": ("invalid_request", (FORM, form(field(b"ttl", b"nan"), FILE))),
    "permanent that is neither": ("invalid_request", (FORM, form(field(b"permanent", b"maybe"), FILE))),
    "cost that is no number": ("invalid_request", (FORM, form(field(b"maxCostUsd", b"NaN"), FILE))),
    "provider that is none": ("unknown_provider", (FORM, form(field(b"provider", b"x\0y"), FILE))),
    "long provider": ("invalid_request", (FORM, form(field(b"provider", b"x" * 65), FILE))),
    "JSON said to be a form": ("invalid_multipart", (FORM, b'{"data": "x"}')),
    "a form said to be JSON": ("invalid_json", ("application/json", form(FILE))),
    "mixed and no form": ("invalid_json", ("multipart/mixed; boundary=b0undary", form(FILE))),
    "compressed": ("invalid_multipart", (FORM, gzip.compress(form(FILE)))),
}

TAKEN: dict[str, tuple[bytes, str | None, Body]] = {
    "boundary of 70": (CONTENT, "x.bin", (behind("a" * 70), form(FILE, boundary=b"a" * 70))),
    "odd boundary": (
        CONTENT,
        "x.bin",
        (behind('"a b\'()+_,-./:=?;"'), form(FILE, boundary=b"a b'()+_,-./:=?;")),
    ),
    "boundary beyond ASCII": (
        CONTENT,
        "x.bin",
        (behind("é").encode("latin-1"), form(FILE, boundary=b"\xe9")),
    ),
    "capitals": (CONTENT, "x.bin", (FORM.upper().replace("B0UNDARY", "b0undary"), form(FILE))),
    "line break before": (CONTENT, "x.bin", (FORM, b"\r\n" + form(FILE))),
    "text behind": (CONTENT, "x.bin", (FORM, form(FILE) + b"<script>" * 1000)),
    "another form behind": (CONTENT, "x.bin", (FORM, form(FILE) + form(file(b"other")))),
    "no line break at the end": (CONTENT, "x.bin", (FORM, form(FILE, end=b"--"))),
    "no file name": (CONTENT, None, (FORM, form(part(b'; name="file"', CONTENT)))),
    "extended file name": (
        CONTENT,
        "plain",
        (FORM, form(part(b'; name="file"; filename="plain"; filename*=UTF-8\'\'..%2fother', CONTENT))),
    ),
    "folders in the name": (CONTENT, "passwd", (FORM, form(file(CONTENT, b"../../etc/passwd")))),
    "line break in the name": (CONTENT, '"a', (FORM, form(file(CONTENT, b"a\r\nSet-Cookie: b=c")))),
    "NUL in the name": (CONTENT, "ab", (FORM, form(file(CONTENT, b"a\0b")))),
    "name that turns the writing": (
        CONTENT,
        "agpj.exe",
        (FORM, form(file(CONTENT, "a\u202egpj.exe".encode()))),
    ),
    "transfer encoding": (
        b"aGVsbG8=",
        "x",
        (FORM, form(file(b"aGVsbG8=", b"x", b"Content-Transfer-Encoding: base64"))),
    ),
    "a form in the form": (
        form(FILE, boundary=b"inner"),
        "x",
        (FORM, form(file(form(FILE, boundary=b"inner"), b"x"))),
    ),
    "empty file": (b"", "x.bin", (FORM, form(file(b"")))),
    "another's upload named": (CONTENT, "x.bin", (FORM, form(field(b"upload", b"0" * 32), FILE))),
    "compressed content": (
        gzip.compress(b"a" * 10_000, mtime=0),
        "x",
        (FORM, form(file(gzip.compress(b"a" * 10_000, mtime=0), b"x"))),
    ),
}


def sent(body: Body) -> dict[str, Any]:
    return {"content": body[1], "headers": {"Content-Type": body[0]}}


@pytest.mark.parametrize("case", REFUSED)
def test_a_body_that_is_wrong_is_refused_with_and_without_a_payment(
    host: Stack, store: httpx.Client, wallet: Wallet, case: str
) -> None:
    code, body = REFUSED[case]
    before = Untouched(host)
    (header,) = wallet.pay_v2(asked(store, sent((FORM, form(FILE))))).items()
    for headers in ({}, dict([header])):
        request = sent(body)
        answer = store.post("/store", content=body[1], headers={**request["headers"], **headers})
        assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert payments(host, wallet) == []
    before.check()


@pytest.mark.parametrize("case", TAKEN)
def test_a_body_that_is_only_odd_is_stored_as_what_it_says(
    store: httpx.Client, wallet: Wallet, case: str
) -> None:
    content, name, body = TAKEN[case]
    answer = paid(store, wallet, sent(body))
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    assert (result["size"], result["filename"], result["permanent"]) == (len(content), name, False)
    fetched = store.get(result["url"])
    assert fetched.content == content
    assert fetched.headers["Content-Disposition"].startswith("attachment;")
    assert "Set-Cookie" not in fetched.headers and "Content-Encoding" not in fetched.headers


JSON_REFUSED: dict[str, tuple[int, str, bytes]] = {
    "deep": (400, "invalid_json", b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "list": (400, "invalid_body", b'["data"]'),
    "not UTF-8": (400, "invalid_json", b'{"data":"\xff"}'),
    "half a character": (422, "invalid_text", b'{"data":{"\\ud800":1}}'),
    "half a character in the provider": (400, "invalid_request", b'{"data":"x","provider":"\\ud800"}'),
    "half a character in the type": (400, "invalid_request", b'{"data":"x","contentType":"\\ud800"}'),
    "half a character in an address": (400, "invalid_request", b'{"data":{"url":"http://\\ud800/"}}'),
    "type with a line break": (
        400,
        "invalid_request",
        b'{"data":"x","contentType":"a/b\\r\\nSet-Cookie: a=b"}',
    ),
    "ttl beyond all numbers": (400, "invalid_request", b'{"data":"x","ttl":1e400}'),
    "ttl of 30 digits": (400, "invalid_request", b'{"data":"x","options":{"ttl":' + b"9" * 30 + b"}}"),
    "ttl of 5,000 digits": (400, "invalid_json", b'{"data":"x","ttl":' + b"9" * 5000 + b"}"),
    "ttl one too long": (400, "invalid_request", b'{"data":"x","ttl":315360001}'),
    "ttl that is a list": (400, "invalid_request", b'{"data":"x","options":{"ttl":[]}}'),
    "permanent that is a list": (400, "invalid_request", b'{"data":"x","options":{"permanent":[true]}}'),
    "provider that is a number": (400, "invalid_request", b'{"data":"x","options":{"provider":5}}'),
    "cost below nothing": (400, "invalid_request", b'{"data":"x","options":{"maxCostUsd":-1}}'),
    "file name that is a number": (400, "invalid_request", b'{"data":"x","options":{"filename":5}}'),
    "encoding that is a list": (400, "invalid_request", b'{"data":"x","encoding":["base64"]}'),
    "inline that is a number": (400, "invalid_request", b'{"fileInline":5}'),
    "an upload": (400, "data_required", b'{"upload":"' + b"0" * 32 + b'"}'),
    "an upload among the options": (400, "data_required", b'{"options":{"upload":"' + b"0" * 32 + b'"}}'),
    "over 10 MB": (413, "body_too_large", b'{"data":"' + b"x" * (10 << 20) + b'"}'),
}


@pytest.mark.parametrize("case", JSON_REFUSED)
def test_json_that_is_wrong_is_refused_with_and_without_a_payment(
    host: Stack, store: httpx.Client, wallet: Wallet, case: str
) -> None:
    status, code, body = JSON_REFUSED[case]
    before = Untouched(host)
    payment = wallet.pay_v1(asked(store, {"json": {"data": "x"}}))
    for headers in ({}, payment):
        answer = store.post("/store", content=body, headers={"Content-Type": "application/json", **headers})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert payments(host, wallet) == []
    before.check()


@pytest.mark.parametrize("options", [1, "x", [1], None, True, [["ttl", 5]], {"ttl": None}], ids=repr)
def test_options_of_another_kind_are_none(store: httpx.Client, wallet: Wallet, options: Any) -> None:
    answer = paid(store, wallet, {"json": {"data": secrets.token_hex(8), "options": options}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"]["permanent"] is False


def test_json_as_deep_as_can_be_read_is_read_to_its_end(store: httpx.Client) -> None:
    """Whoever reads it stands as deep in the program as whoever writes it: none of them falls."""
    answers = set()
    for depth in range(900, 1000, 3):
        body = b'{"data":' + b"[" * depth + b"]" * depth + b"}"
        answer = store.post("/store", content=body, headers={"Content-Type": "application/json"})
        answers.add((answer.status_code, answer.json()["code"]))
    assert answers == {(402, "payment_required"), (400, "invalid_json")}


def test_anothers_staged_upload_cannot_be_named(host: Stack, store: httpx.Client, wallet: Wallet) -> None:
    """It waits at the executor until its own request is paid; its id is nobody's key to it."""
    secret = b"another's " + secrets.token_bytes(20_000)
    url, token = host.url("executor"), {"Authorization": "Bearer test-token"}
    staged = httpx.put(
        url + "/uploads", content=secret, headers=token, timeout=60, trust_env=False, verify=False
    ).json()
    upload_id = staged["uploadId"]
    try:
        mine = secrets.token_hex(20)
        for fields in (
            {"data": mine, "upload": upload_id},
            {"data": mine, "options": {"upload": upload_id}},
            {"data": {"upload": upload_id, "m": mine}},
        ):
            answer = paid(store, wallet, {"json": fields})
            assert answer.status_code == 200, answer.text
            fetched = store.get(answer.json()["result"]["url"])
            assert mine in fetched.text and secret not in fetched.content
        form_fields = form(field(b"upload", upload_id.encode()), file(mine.encode()))
        answer = paid(store, wallet, sent((FORM, form_fields)))
        assert store.get(answer.json()["result"]["url"]).text == mine
        assert store.get(f"/files/{staged['cid']}").status_code == 404
    finally:
        httpx.delete(
            f"{url}/uploads/{upload_id}", headers=token, timeout=60, trust_env=False, verify=False
        ).raise_for_status()


def test_the_boundary_of_the_form_is_no_content() -> None:
    """The cases above would show nothing if their content could not be told from the form around it."""
    assert b"--" + BOUNDARY not in CONTENT and BOUNDARY[:-1] in CONTENT
    assert json.loads(JSON_REFUSED["ttl one too long"][2])["ttl"] == 315_360_001
