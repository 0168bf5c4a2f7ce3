"""File names and content types from strangers are cut down to what is safe to keep and to show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from executor.storage.fetching.labels import (
    MAX_NAME_BYTES,
    UNKNOWN_TYPE,
    name_of,
    safe_content_type,
    safe_file_name,
)


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("Zürich ☃.txt", "Zürich ☃.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        (".bashrc", "bashrc"),
        ("..", None),
        ("", None),
        (None, None),
        ("/", None),
        ("a\r\nSet-Cookie: b\0.txt", "a Set-Cookie: b.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("\ud800a.txt", "a.txt"),
        ("  a  b . txt. ", "a b. txt"),
        ("x" * 300 + ".tar", "x" * 196 + ".tar"),
        ("ü" * 150 + ".txt", "ü" * 98 + ".txt"),
        ("a." + "y" * 300, "a." + "y" * 198),
    ],
)
def test_a_file_name_is_cut_down(given_name: str | None, kept: str | None) -> None:
    assert safe_file_name(given_name) == kept


@given(st.text(st.characters()) | st.text("/\\. a\u202e\r\n", max_size=20))
def test_a_file_name_is_never_a_path_or_unprintable(text: str) -> None:
    name = safe_file_name(text)
    if name is not None:
        assert name == safe_file_name(name)
        assert name.isprintable() and not set("/\\") & set(name) and name.strip(". ") == name
        assert 0 < len(name.encode()) <= MAX_NAME_BYTES


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("text/html", "text/html"),
        (" Image/PNG ", "image/png"),
        ("text/plain; charset=UTF-8", "text/plain; charset=utf-8"),
        ('text/plain; a="b"; charset="iso-8859-1"', "text/plain; charset=iso-8859-1"),
        ("application/vnd.api+json;x=y", "application/vnd.api+json"),
        ("text/plain; charset=a b", "text/plain"),
        (None, UNKNOWN_TYPE),
        ("", UNKNOWN_TYPE),
        ("text", UNKNOWN_TYPE),
        ("text/", UNKNOWN_TYPE),
        ("text/plain, text/html", UNKNOWN_TYPE),
        ("text/html<script>", UNKNOWN_TYPE),
        ("text/" + "x" * 64, UNKNOWN_TYPE),
        ("ｔext/html", UNKNOWN_TYPE),
    ],
)
def test_a_content_type_is_a_plain_one(header: str | None, kept: str) -> None:
    assert safe_content_type(header) == kept


@pytest.mark.parametrize(
    ("disposition", "url", "name"),
    [
        ('attachment; filename="a.txt"', "http://x.example.org/b", "a.txt"),
        ("attachment; filename=a.txt; filename*=UTF-8''%e2%82%ac.txt", "http://x.example.org/b", "€.txt"),
        ("attachment", "http://x.example.org/b%20c/d%2Fe.txt?f=g", "e.txt"),
        ('attachment; filename=".."', "http://x.example.org/b.txt", "b.txt"),
        ("attachment; filename*=bogus''%ff; filename", "http://x.example.org/b.txt", "b.txt"),
        ('attachment; filename="a', "http://x.example.org/b.txt", "b.txt"),
        (None, "http://x.example.org/", None),
    ],
)
def test_the_server_names_the_file_else_the_url_does(
    disposition: str | None, url: str, name: str | None
) -> None:
    assert name_of(disposition, URL(url)) == name
