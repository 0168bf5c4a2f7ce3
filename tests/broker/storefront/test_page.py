"""The 402 page: everything on it is escaped, and it allows nothing but its own parts."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from broker.operations import RUN
from broker.storefront.page import Sale, payment_page
from shared.networks import Network

EVIL = "</code><script>alert(1)</script>\"'&$nonce ${title}"


@pytest.fixture
def sale(network: Network) -> Sale:
    return Sale(RUN, "https://broker.test/run", network, "0x" + "ab" * 20, 5800, starting=False)


class Parts(HTMLParser):
    """Tags with their attributes, and the text of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(sale: Sale) -> Parts:
    return Parts(bytes(payment_page(sale, {}).body).decode())


def test_the_page_says_what_is_sold_for_how_much_and_how_to_pay(sale: Sale) -> None:
    parts = page_of(sale)
    for said in (
        RUN.description,
        "$0.0058",
        "base-sepolia (test money, eip155:84532)",
        "POST https://broker.test/run",
        "0x" + "ab" * 20,
        sale.network.asset,
        "galaksio run hello.py",
        "--url https://broker.test --network base-sepolia",
        "curl -i https://broker.test/run",
    ):
        assert said in parts.text, said
    assert {"href": "/docs"} in parts.named("a")


def test_a_starting_price_is_called_one(sale: Sale) -> None:
    assert "from $0.0058" in page_of(replace(sale, starting=True)).text
    assert "from $" not in page_of(sale).text


def test_whatever_stands_on_the_page_is_escaped(sale: Sale) -> None:
    clean = page_of(sale)
    evil = replace(
        sale,
        operation=replace(RUN, description=EVIL, name=EVIL, example={"code": EVIL}),
        resource="https://broker.test/" + EVIL,
        network=replace(sale.network, name=EVIL, asset=EVIL, domain_name=EVIL),
        pay_to=EVIL,
        note=EVIL,
    )
    parts = page_of(evil)
    assert len(parts.named("script")) == len(clean.named("script")) == 1
    assert EVIL in parts.text
    assert not [tag for tag, attributes in parts.tags if any(name.startswith("on") for name in attributes)]


def test_the_curl_command_survives_quotes_in_the_example(sale: Sale) -> None:
    import shlex

    parts = page_of(replace(sale, operation=replace(RUN, example={"code": "print('it''s')"})))
    command = parts.text[parts.text.index("curl -i") :].split("Copy")[0]
    assert shlex.split(command)[-1] == "{\"code\": \"print('it''s')\"}"


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_else(sale: Sale) -> None:
    response = payment_page(sale, {"PAYMENT-REQUIRED": "kept"})
    policy = response.headers["Content-Security-Policy"]
    parts = Parts(bytes(response.body).decode())
    [nonce] = set(re.findall(r"'nonce-([^']+)'", policy))
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert parts.named("script") == [{"nonce": nonce}]
    assert parts.named("style") == [{"nonce": nonce}]
    assert not [a for _, a in parts.tags if "src" in a or "style" in a]
    assert [a["href"] for a in parts.named("link")] == ["data:,"]
    assert (response.status_code, response.headers["PAYMENT-REQUIRED"]) == (402, "kept")
    assert nonce not in payment_page(sale, {}).headers["Content-Security-Policy"]
