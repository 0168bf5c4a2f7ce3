"""The broker's free prices, over the real quote service."""

import csv
import io

import httpx
import pytest

ASKS = {
    "run": {"codeSize": 10, "language": "python"},
    "compute": {"size": "large"},
    "execute": {"timeout": 5},
    "store": {"fileSize": 5_000_000},
    "storage": {"fileSize": 5_000_000, "permanent": True},
    "best": {"operation": "run"},
}
ROOTS = ["/quote", "/v2/quote"]


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("operation", ASKS)
def test_each_operation_has_a_price_by_body_and_by_query(
    http: httpx.Client, root: str, operation: str
) -> None:
    ask = ASKS[operation]
    by_body = http.post(f"{root}/{operation}", json=ask)
    query = {name: str(value).lower() for name, value in ask.items()}
    by_query = http.get(f"{root}/{operation}", params=query)
    for answer in (by_body, by_query):
        assert answer.status_code == 200, answer.text
        assert answer.json()["best"]["provider"] == "local"
    assert by_body.json()["best"]["price_usd"] == by_query.json()["best"]["price_usd"]


@pytest.mark.parametrize("root", ROOTS)
def test_the_fields_alone_may_say_what_is_wanted(http: httpx.Client, root: str) -> None:
    assert http.post(root, json={"fileSize": 1000}).json()["operation"] == "storage"
    assert http.get(root, params={"operation": "execute", "size": 1024}).json()["operation"] == "compute"
    hybrid = http.post(root, json={"language": "python", "fileSize": 1000}).json()
    assert hybrid["operation"] == "hybrid"
    unknown = http.post(root, json={"colour": "red"})
    assert (unknown.status_code, unknown.json()["success"]) == (400, False)
    assert unknown.json()["requestId"] == unknown.headers["X-Request-ID"]


def test_prices_come_as_a_table_where_one_is_wanted(http: httpx.Client) -> None:
    table = http.post("/quote/run", json={}, headers={"Accept": "text/csv"})
    assert table.headers["Content-Type"].startswith("text/csv")
    assert "Accept" in table.headers["Vary"]
    assert "local" in {row["provider"] for row in csv.DictReader(io.StringIO(table.text))}
    markdown = http.get("/quote", params={"operation": "run"}, headers={"Accept": "text/markdown"})
    assert markdown.headers["Content-Type"].startswith("text/markdown")
    assert markdown.text.startswith("| ")


def test_the_providers_are_public_and_the_card_names_them(http: httpx.Client) -> None:
    found = http.get("/providers").json()
    assert {("local", "compute"), ("local", "storage")} <= {
        (row["name"], row["kind"]) for row in found["providers"]
    }
    assert "://" not in http.get("/providers").text
    links = http.get("/").json()["links"]
    assert (links["providers"], links["quote"], links["a2a"]) == ("/providers", "/quote", "/a2a/message")
