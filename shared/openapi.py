"""What FastAPI cannot know of our answers, added to the OpenAPI document of a service.

Routes declare what is theirs with `refusals` and `json_request`; `publish` adds what holds for all of them.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from shared.http import HEALTH_PATHS

Document = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]
"""As FastAPI takes them: by status."""
REFERENCE = "#/components/schemas/{model}"
METHODS = ("get", "put", "post", "delete", "head", "patch")
_FASTAPIS_OWN = ("HTTPValidationError", "ValidationError")
_FIRST_SENTENCE = re.compile(r"(.+?)(?:\.(?:\s|$)|\n\n|$)", re.DOTALL)


class ErrorBody(BaseModel):
    """Every error of every service (api.md, Everywhere). Some have more fields, as their routes say."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "error": "code is required",
                "success": False,
                "message": "code is required",
                "detail": "code is required",
                "code": "code_required",
                "requestId": "4f9c1be2a1d84c5f9a4d0c3f5c1a7e21",
            }
        },
    )

    error: str
    success: Literal[False]
    message: str
    detail: str
    code: str
    requestId: str


RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer", "minimum": 0}, "description": "Seconds to wait"}}
_WAITING = frozenset({429, 503, 507})

REQUEST_ID: dict[str, Any] = {
    "description": "The id that the answer and the logs carry: the caller's own when it is well-formed",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
}
_REQUEST_ID_PARAMETER = {"name": "X-Request-ID", "in": "header", "required": False, **REQUEST_ID}
BEARER = {"type": "http", "scheme": "bearer"}
_INTERNAL = "InternalToken"


def refusals(texts: Mapping[int, str]) -> Responses:
    """Answers with the house's error body, each status with what it means.

    The body is named by reference: FastAPI would make a validator of the same model for each of hundreds.
    """
    body = {"application/json": {"schema": {"$ref": REFERENCE.format(model="ErrorBody")}}}
    return {
        status: {
            "description": text,
            "content": copy.deepcopy(body),
            **({"headers": copy.deepcopy(RETRY_AFTER)} if status in _WAITING else {}),
        }
        for status, text in texts.items()
    }


def json_request(
    schema: type[BaseModel] | dict[str, Any], example: Any = None, *, required: bool = True
) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its JSON body itself."""
    shape = schema if isinstance(schema, dict) else schema.model_json_schema(ref_template=REFERENCE)
    content = {"schema": shape, **({} if example is None else {"example": example})}
    return {"requestBody": {"required": required, "content": {"application/json": content}}}


OUTSIDE = refusals({429: "Too many requests from this address"})
"""What any route of the public door may answer."""
INSIDE = refusals(
    {401: "Not the INTERNAL_API_TOKEN", 403: "No INTERNAL_API_TOKEN is set, and the peer is not this machine"}
)
"""What any route of an internal service may answer."""


def publish_outside(app: FastAPI, tags: Mapping[str, str], bearers: Mapping[str, str]) -> None:
    """Complete the document of the public door.

    `tags` are the groups of routes and what they are about, `bearers` security schemes by name, each with
    what its bearer token is, besides those that FastAPI finds by itself.
    """
    _publish(app, OUTSIDE, tags, bearers, [])


def publish_inside(app: FastAPI, tags: Mapping[str, str]) -> None:
    """Complete the document of an internal service. Where no token is set, none is needed on this machine."""
    _publish(app, INSIDE, tags, {_INTERNAL: "The INTERNAL_API_TOKEN"}, [{_INTERNAL: []}, {}])


def _publish(
    app: FastAPI,
    common: Responses,
    tags: Mapping[str, str],
    bearers: Mapping[str, str],
    security: list[dict[str, Any]],
) -> None:
    build = app.openapi

    def openapi() -> Document:
        if app.openapi_schema is None:
            document = build()
            document["tags"] = [{"name": name, "description": text} for name, text in tags.items()]
            _complete(document, common, security)
            schemes = document["components"].setdefault("securitySchemes", {})
            schemes |= {name: {**BEARER, "description": text} for name, text in bearers.items()}
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def operations(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """`(method, path, operation)` of a document, in its order."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def operation_id(method: str, path: str) -> str:
    """`get_cache_cacheId_key` for `GET /cache/{cacheId}/{key}`: as stable as the address itself."""
    return "_".join([method, *(re.findall(r"[A-Za-z0-9]+", path) or ["root"])])


def _complete(document: Document, common: Responses, security: list[dict[str, Any]]) -> None:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    components["headers"] = {"RequestId": {"required": True, **REQUEST_ID}}
    schemas["ErrorBody"] = ErrorBody.model_json_schema(ref_template=REFERENCE)
    for method, path, operation in operations(document):
        operation["operationId"] = operation_id(method, path)
        operation["summary"] = _summary(operation)
        operation.setdefault("parameters", []).append(_REQUEST_ID_PARAMETER)
        _hoist(operation, schemas)
        _tell_the_real_422(operation)
        answers = operation["responses"]
        if path not in HEALTH_PATHS:
            _add(answers, common)
            if security:
                operation["security"] = security
        if "requestBody" in operation:
            _add(answers, refusals({413: "The body is larger than is taken here"}))
        for answer in answers.values():
            answer.setdefault("headers", {})["X-Request-ID"] = {"$ref": "#/components/headers/RequestId"}
    for name in _FASTAPIS_OWN:
        schemas.pop(name, None)


def _summary(operation: dict[str, Any]) -> str:
    """The first sentence of what the route says of itself."""
    found = _FIRST_SENTENCE.match(operation.get("description", ""))
    return " ".join(found[1].split()) if found else operation["summary"]


def _hoist(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Nested definitions of a body that only `openapi_extra` names are published with all others."""
    for media in operation.get("requestBody", {}).get("content", {}).values():
        schemas.update(media.get("schema", {}).pop("$defs", {}))


def _tell_the_real_422(operation: dict[str, Any]) -> None:
    """FastAPI's own 422 is answered in the house's form, and never where all that it reads is plain text."""
    answers = operation["responses"]
    refused = answers.get("422", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if not refused.get("$ref", "").endswith("/HTTPValidationError"):
        return
    del answers["422"]
    if "requestBody" in operation:
        _add(answers, refusals({400: "The body is not UTF-8, or is nested too deeply"}))
    if "requestBody" in operation or not all(map(_is_never_wrong, operation["parameters"])):
        _add(answers, refusals({422: "A field that is missing or wrong, or a body that is not JSON"}))


def _is_never_wrong(parameter: dict[str, Any]) -> bool:
    """Any text will do, or it is not read by FastAPI, which gives a title to each that is."""
    schema = parameter["schema"]
    return "title" not in schema or (schema.keys() <= {"type", "title"} and schema["type"] == "string")


def _add(answers: dict[str, Any], more: Responses) -> None:
    """Declare `more` where the route itself says nothing of them."""
    for status, answer in more.items():
        answers.setdefault(str(status), copy.deepcopy(answer))
