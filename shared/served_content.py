"""OpenAPI of stored content: the executor serves it, and the broker passes it on as it is."""

from typing import Any

from shared.openapi import Responses, refusals


def _header(description: str, *, required: bool = False) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": {"type": "string"}}


_ALWAYS = {
    "ETag": _header("The content id in quotes, with .raw or .car for these", required=True),
    "Cache-Control": _header("As long as the content is kept; `immutable` for good", required=True),
    "Accept-Ranges": _header("`bytes`, or `none` for raw and car", required=True),
    "Content-Disposition": _header("Its name, and whether a browser may show it", required=True),
    "X-Ipfs-Path": _header("`/ipfs/` and the content id", required=True),
}
_CONTENT: dict[str, Any] = {"*/*": {}}
"""Bytes of any type: what is JSON need not be a text."""
ANSWERS: Responses = {
    200: {
        "description": "The whole content, in the type it was stored with",
        "headers": _ALWAYS,
        "content": _CONTENT,
    },
    206: {
        "description": "The range that was asked for",
        "headers": {**_ALWAYS, "Content-Range": _header("`bytes 0-99/1234`", required=True)},
        "content": _CONTENT,
    },
    304: {"description": "Unchanged", "headers": _ALWAYS},
    **refusals(
        {
            400: "Not a content id, or an unknown format",
            404: "Not stored here",
            410: "It was stored here, and has expired",
            416: "The range begins behind the content",
            503: "Stored content cannot be read now",
        }
    ),
}
PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "format",
        "in": "query",
        "description": "The root block, or all of it as a CAR: to check it against its content id",
        "schema": {"type": "string", "enum": ["raw", "car"]},
    },
    *(
        {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}
        for name, description in (
            ("Range", "One range of bytes: `bytes=0-99`"),
            ("If-Range", "The ETag that the range belongs to"),
            ("If-None-Match", "The ETag that is known"),
        )
    ),
]
