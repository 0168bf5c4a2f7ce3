"""Reading a store from JSON, and what names and types are cut down to."""

from typing import Any

import pytest

from shared.errors import BadRequest
from shared.store import MAX_NAME_CHARACTERS, StoreRequest, clean_name, clean_type, parse_store_request


@pytest.mark.parametrize(
    ("body", "upload", "data", "encoding", "url"),
    [
        ({"upload": "u", "data": "x"}, "u", None, "utf-8", None),
        ({"data": "x", "fileInline": "eA=="}, None, "x", "utf-8", None),
        ({"data": "x", "encoding": "UTF8"}, None, "x", "utf-8", None),
        ({"data": "eA==", "encoding": "Base64"}, None, "eA==", "base64", None),
        ({"data": "eA==", "is_base64": True}, None, "eA==", "base64", None),
        ({"data": "eA==", "is_base64": "yes"}, None, "eA==", "utf-8", None),
        ({"data": {"url": "http://x/"}}, None, None, "utf-8", "http://x/"),
        ({"data": {"url": "http://x/", "a": 1}}, None, '{"url":"http://x/","a":1}', "json", None),
        ({"data": {"b": None}, "encoding": "base64"}, None, '{"b":null}', "json", None),
        ({"data": False}, None, "false", "json", None),
        ({"fileInline": "eA==", "fileUrl": "http://x/"}, None, "eA==", "base64", None),
        ({"fileUrl": "http://x/"}, None, None, "utf-8", "http://x/"),
        ({"url": "http://x/"}, None, None, "utf-8", "http://x/"),
    ],
)
def test_content_is_the_first_source_that_is_there(
    body: dict[str, Any], upload: str | None, data: str | None, encoding: str, url: str | None
) -> None:
    read = parse_store_request(body)
    assert (read.upload, read.data, read.encoding, read.url) == (upload, data, encoding, url)


def test_settings_stand_at_the_top_or_in_options_and_the_top_wins() -> None:
    options = {"permanent": True, "ttl": 10, "filename": "in-options.txt"}
    read = parse_store_request({"data": "x", "options": options, "ttl": 20})
    assert (read.permanent, read.ttl_s, read.filename) == (True, 20, "in-options.txt")
    read = parse_store_request({"data": "x", "fileName": "a", "content_type": "a/b", "maxBytes": 5})
    assert (read.filename, read.content_type, read.max_bytes, read.ttl_s) == ("a", "a/b", 5, 3600)


def test_a_request_survives_being_written_and_read() -> None:
    read = parse_store_request({"data": [1], "permanent": True, "ttl": 60, "filename": "a.txt"})
    assert StoreRequest.model_validate(read.model_dump(mode="json")) == read


@pytest.mark.parametrize("body", [None, [], "x", {}, {"data": None}, {"filename": "a"}])
def test_a_body_without_content_is_400(body: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_store_request(body)
    assert caught.value.code in ("invalid_body", "data_required")


@pytest.mark.parametrize(
    "fields", [{"ttl": -1}, {"ttl": "soon"}, {"encoding": 5}, {"url": 5, "data": None}, {"filename": []}]
)
def test_a_field_that_makes_no_sense_is_400_and_named(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_store_request({"data": "x", **fields})
    assert caught.value.code == "invalid_request"
    assert next(iter(fields)) in caught.value.message


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("a.txt", "a.txt"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("a\0b\r\n\x7f.txt", "ab.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("\ud800half", "half"),
        ("  ", ""),
        ("folder/", ""),
        ("ü" * 500, "ü" * MAX_NAME_CHARACTERS),
    ],
)
def test_a_name_is_a_name_and_nothing_else(name: str, clean: str) -> None:
    assert clean_name(name) == clean


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ("image/PNG", "image/png"),
        ("text/plain;charset=UTF-8", "text/plain; charset=utf-8"),
        ('text/plain; charset="utf-8"', "text/plain; charset=utf-8"),
        ("application/ld+json", "application/ld+json"),
        ("text/html; boundary=x", None),
        ("text", None),
        ("text/html\r\nSet-Cookie: a=b", None),
        ("text/html, text/plain", None),
        ("a/" + "b" * 200, None),
    ],
)
def test_a_type_is_a_type_and_nothing_else(given: str, clean: str | None) -> None:
    assert clean_type(given) == clean
