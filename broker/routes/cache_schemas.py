"""OpenAPI of the routes of caches, which read their requests themselves."""

from typing import Any

from broker.routes.schemas import PAYMENT_HEADERS, PAYMENT_REQUIRED, PENDING, RECEIPTS, REFUND_OWED
from shared.openapi import Responses, json_request, refusals

CACHE_TOKEN = "CacheToken"  # noqa: S105 - the name of a scheme

_REFUSED = refusals(
    {
        400: "Something that cannot be: key, value, ttl, command, type",
        401: "No token, or not the one of this cache",
        404: "No such key, or the cache has expired",
        409: "The authorization of the payment was used for another request",
        410: "Used up, and no more operations are sold for this cache; or an old payment was sent again",
        413: "The value is larger than is kept",
        431: "Payment header over 16 KB",
        500: "The result that was paid for cannot be found",
        503: "The cache, or what a payment needs, does not answer",
        507: "The cache is full",
    }
)
_AFTER_A_TOP_UP = (400, 404, 410, 503, 507)
"""How a request may still fail for which more operations were bought, be it long ago: with the receipt."""

CACHE_ANSWERS: Responses = {
    200: {"description": "Done", "headers": RECEIPTS},
    202: PENDING,
    402: {**PAYMENT_REQUIRED, "description": "Used up: pay this, then send the same request again"},
    **_REFUSED,
    **{
        status: {**_REFUSED[status], "headers": {**_REFUSED[status].get("headers", {}), **RECEIPTS}}
        for status in _AFTER_A_TOP_UP
    },
    502: REFUND_OWED,
}
REPLY = {
    "type": "object",
    "required": ["result"],
    "properties": {"result": {"description": "Text, a number, null, or a list of them"}},
}
REFUSED = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def _replied(schema: dict[str, Any]) -> Responses:
    done = {**CACHE_ANSWERS[200], "content": {"application/json": {"schema": schema}}}
    return {**CACHE_ANSWERS, 200: done}


ONE_REPLY = _replied(REPLY)
MANY_REPLIES = _replied({"type": "array", "items": {"anyOf": [REPLY, REFUSED]}})
ENCODING = {
    "name": "Upstash-Encoding",
    "in": "header",
    "required": False,
    "description": "`base64`: texts of a reply are told in base64",
    "schema": {"type": "string", "enum": ["base64"]},
}

PUT_BODY = {
    "type": "object",
    "required": ["value"],
    "properties": {"value": {"description": "Any JSON"}, "ttl": {"type": ["integer", "null"], "minimum": 1}},
    "example": {"value": {"name": "Ada"}, "ttl": 3600},
}
TTL_BODY = {
    "type": "object",
    "required": ["ttl"],
    "properties": {"ttl": {"type": ["integer", "null"], "minimum": 1}},
    "example": {"ttl": 60},
}
COMMAND_BODY = {
    "type": "array",
    "minItems": 1,
    "items": {"type": ["string", "number", "boolean"]},
    "example": ["SET", "k", "v", "EX", 60],
}
PIPELINE_BODY = {
    "type": "array",
    "minItems": 1,
    "maxItems": 1000,
    "items": COMMAND_BODY,
    "example": [["SET", "k", "v"], ["GET", "k"]],
}
LIST_QUERY = {
    "cursor": {"type": "string"},
    "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    "prefix": {"type": "string"},
}


def described(
    *in_path: str,
    body: dict[str, Any] | None = None,
    query: dict[str, Any] | None = None,
    redis: bool = False,
) -> dict[str, Any]:
    """`openapi_extra` of a route with `cacheId` and `in_path` in its path, a cache's token, and these.

    A payment is taken along: it is asked for when the operations are used up. `redis` is for commands.
    """
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("cacheId", *in_path)
    ]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in (query or {}).items()]
    parameters += [*PAYMENT_HEADERS, *([ENCODING] if redis else [])]
    return {
        "parameters": parameters,
        "security": [{CACHE_TOKEN: []}],
        **({} if body is None else json_request(body)),
    }
