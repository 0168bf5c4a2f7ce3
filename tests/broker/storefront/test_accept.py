"""Who gets a page and who gets JSON."""

import pytest

from broker.storefront.accept import wants_html

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        (CHROME, True),
        ("text/html", True),
        ("TEXT/HTML", True),
        ("text/html;q=0.9, application/json;q=0.8", True),
        ("text/html, */*", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
        ("application/json, text/html", False),
        ("text/html;q=0.8, application/json", False),
        ("text/html;q=0", False),
        ("text/html;q=0, */*", False),
        ("text/html;q=nan", False),
        ("text/html;q=x", False),
        ("text/*", False),
        ("text/htmlx", False),
        ("application/json, */*;q=0.1", False),
        ("application/json;q=0.9, application/*;q=1, text/html;q=0.9", False),
    ],
)
def test_a_page_is_for_whoever_names_html_and_prefers_it(accept: str, page: bool) -> None:
    assert wants_html([(b"accept", accept.encode())]) is page


def test_no_accept_at_all_is_json() -> None:
    assert wants_html([]) is False


def test_a_long_or_strange_accept_is_read_without_failing() -> None:
    assert wants_html([(b"accept", b"\xff\xfe;;;q==," * 10_000)]) is False
    assert wants_html([(b"Accept", b"text/html"), (b"accept", b"application/json")]) is False


@pytest.mark.parametrize("header", [b"X-PAYMENT", b"payment-signature"])
def test_whoever_sends_a_payment_gets_json(header: bytes) -> None:
    assert wants_html([(b"accept", CHROME.encode()), (header, b"x")]) is False
