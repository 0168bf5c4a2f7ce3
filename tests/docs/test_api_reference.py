"""docs/api.md is what the services publish."""

import re

import pytest

from scripts.api_reference import TARGET, Document, documents, reference


@pytest.fixture(scope="module")
def published() -> dict[str, Document]:
    return documents()


def test_the_reference_is_the_one_of_these_services(published: dict[str, Document]) -> None:
    assert TARGET.read_text() == reference(published), "run .venv/bin/python scripts/api_reference.py"


def test_the_reference_has_each_route_of_each_service(published: dict[str, Document]) -> None:
    text = TARGET.read_text()
    routes = [
        f"`{method.upper()} {path}`"
        for document in published.values()
        for path, item in document["paths"].items()
        for method in item
    ]
    assert len(routes) > 60
    assert [route for route in routes if route not in text] == []


def test_each_type_that_is_linked_has_its_heading() -> None:
    text = TARGET.read_text()
    headings = {
        f"{name.lower()}-{service.lower()}" for name, service in re.findall(r"### (\w+) \((\w+)\)", text)
    }
    linked = set(re.findall(r"\]\(#([\w-]+)\)", text))
    assert len(linked) > 20
    assert linked - headings == set()
