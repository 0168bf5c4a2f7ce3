"""Writes docs/api.md from the OpenAPI documents of the three services.

    .venv/bin/python scripts/api_reference.py

`tests/docs/test_api_reference.py` compares the file with what this makes.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "docs" / "api.md"
METHODS = ("get", "put", "post", "delete", "patch")
INTRODUCTION = """\
# HTTP reference

<!-- Made by scripts/api_reference.py from the services' OpenAPI documents. Do not edit. -->

The broker is the public door; quote and executor are internal (`Authorization: Bearer $INTERNAL_API_TOKEN`,
or loopback only where none is set). Each service also serves this as `/openapi.json`, `/docs` and `/redoc`.
Errors are `{error, success: false, message, detail, code, requestId}`; every answer has `X-Request-ID`.
How to pay a 402 is told in the [quick start for buyers](quick-start-buyers.md).
"""

Document = dict[str, Any]


def reference(published: dict[str, Document]) -> str:
    """The whole page as Markdown, from the documents of the services by their names."""
    return "\n".join([INTRODUCTION, *(Section(*service).text() for service in published.items())])


def documents() -> dict[str, Document]:
    """The OpenAPI document of each service by its name, as one with default settings publishes it.

    Builds the services' apps without starting them.
    """
    import broker.main
    import broker.settings
    import executor.main
    import executor.settings
    import quote.main
    import quote.settings

    with tempfile.TemporaryDirectory() as home:
        common: dict[str, Any] = {"galaksio_home": Path(home)}
        sold = broker.settings.BrokerSettings(wallet_address=f"0x{1:040x}", **common)
        priced = quote.settings.QuoteSettings(**common)
        done = executor.settings.ExecutorSettings(**common)
        return {
            "Broker": broker.main.create_app(sold).openapi(),
            "Quote": quote.main.create_app(priced).openapi(),
            "Executor": executor.main.create_app(done).openapi(),
        }


class Section:
    """One service. The headings of its models name it: two services may have models of one name."""

    def __init__(self, service: str, document: Document) -> None:
        self.service = service
        self.document = document

    def text(self) -> str:
        lines = [f"## {self.service}", "", self.document["info"]["description"], ""]
        for text, routes in self._operations().items():
            also = [f"Also {', '.join(routes[1:])}.", ""] if routes[1:] else []
            lines += [f"### {routes[0]}", "", *also, text]
        for name, schema in sorted(self.document.get("components", {}).get("schemas", {}).items()):
            lines += self._model(name, schema)
        return "\n".join(lines)

    def _operations(self) -> dict[str, list[str]]:
        """What is told of each operation, with all the routes that it is told of."""
        found: dict[str, list[str]] = {}
        for path, item in self.document["paths"].items():
            for method in (each for each in METHODS if each in item):
                text = "\n".join(self._operation(item[method]))
                found.setdefault(text, []).append(f"`{method.upper()} {path}`")
        return found

    def _operation(self, operation: Document) -> list[str]:
        lines = [operation.get("description", "").strip(), ""]
        rows = [self._parameter(each) for each in operation.get("parameters", [])]
        for media, content in operation.get("requestBody", {}).get("content", {}).items():
            rows += self._body(media, content.get("schema", {}))
        if rows:
            lines += ["| where | name | type | |", "|---|---|---|---|", *rows, ""]
        return [*lines, "| answer | body | |", "|---|---|---|", *self._answers(operation["responses"]), ""]

    def _told(self, part: Document) -> Document:
        """A part of an operation, from the components where it only stands there."""
        where = part.get("$ref", "")
        if not where:
            return part
        _, _, kind, name = where.split("/")
        told: Document = self.document["components"][kind][name]
        return told

    def _parameter(self, given: Document) -> str:
        parameter = self._told(given)
        schema = parameter.get("schema", {})
        told = parameter.get("description") or schema.get("description", "")
        note = _note(schema, told, required=bool(parameter.get("required")))
        return _row(parameter["in"], f"`{parameter['name']}`", self._type(schema), note)

    def _body(self, media: str, schema: Document) -> list[str]:
        """The fields of a body, or one row for a body without fields of its own."""
        if "properties" not in schema:
            return [_row(media, "", self._type(schema), schema.get("description", ""))]
        return [_row(media, *cells) for cells in self._fields(schema)]

    def _answers(self, answers: Document) -> list[str]:
        """A row for each body, with all the statuses that it comes with."""
        by_body: dict[str, dict[str, str]] = {}
        for status, given in sorted(answers.items()):
            answer = self._told(given)
            bodies = [
                self._type(content.get("schema", {})) if media == "application/json" else media
                for media, content in answer.get("content", {}).items()
            ]
            told = answer.get("description", "").removeprefix("Successful Response")
            by_body.setdefault(", ".join(bodies), {})[status] = told
        return [_row(", ".join(told), body, _together(told)) for body, told in by_body.items()]

    def _model(self, name: str, schema: Document) -> list[str]:
        rows = [_row(*cells) for cells in self._fields(schema)] or [_row("", self._type(schema), "")]
        told = schema.get("description", "").strip()
        return [f"### {name} ({self.service})", "", told, "", "| name | type | |", "|---|---|---|", *rows, ""]

    def _fields(self, schema: Document) -> Iterator[tuple[str, str, str]]:
        required = schema.get("required", [])
        for name, field in schema.get("properties", {}).items():
            note = _note(field, field.get("description", ""), required=name in required)
            yield f"`{name}`", self._type(field), note

    def _type(self, schema: Document) -> str:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return f"[{name}](#{name.lower()}-{self.service.lower()})"
        if "enum" in schema or "const" in schema:
            values = schema.get("enum", [schema.get("const")])
            return " or ".join(f"`{json.dumps(value)}`" for value in values)
        if choices := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
            return " or ".join(dict.fromkeys(self._type(each) for each in choices))
        if schema.get("type") == "array":
            return f"list of {self._type(schema.get('items', {}))}"
        named = schema.get("type", "any JSON")
        return " or ".join(named) if isinstance(named, list) else str(named)


def _note(schema: Document, told: str, *, required: bool) -> str:
    parts = ["required" if required else ""]
    if not required and schema.get("default") not in (None, "", [], {}):
        parts.append(f"default `{json.dumps(schema['default'])}`")
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    parts += [f"{sign} {schema[name]}" for name, sign in signs.items() if name in schema]
    units = {"maxLength": "characters", "maxItems": "items", "maxProperties": "entries"}
    parts += [f"at most {schema[name]} {unit}" for name, unit in units.items() if name in schema]
    return "; ".join(part for part in [*parts, told] if part)


def _together(told: dict[str, str]) -> str:
    """What is told of several statuses; which one is meant stands before it."""
    if len(told) == 1:
        return next(iter(told.values()))
    return "; ".join(f"{status}: {text}" for status, text in told.items() if text)


def _row(*cells: str) -> str:
    flat = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(flat)} |".replace("|  |", "| |")


if __name__ == "__main__":
    TARGET.write_text(reference(documents()))
    print(f"Wrote {TARGET}.")
