"""OpenAPI of the routes of caches, which read their requests themselves."""

from typing import Any

from broker.routes.schemas import ErrorBody, PaymentRequiredBody

CACHE_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "Something that cannot be: key, value, ttl, command, type"},
    401: {"model": ErrorBody, "description": "No token, or not the one of this cache"},
    402: {"model": PaymentRequiredBody, "description": "Used up: pay this, then send the same request again"},
    404: {"model": ErrorBody, "description": "No such key, or the cache has expired"},
    507: {"model": ErrorBody, "description": "The cache is full"},
}

PUT_BODY = {
    "type": "object",
    "required": ["value"],
    "properties": {"value": {"description": "Any JSON"}, "ttl": {"type": ["integer", "null"], "minimum": 1}},
}
TTL_BODY = {
    "type": "object",
    "required": ["ttl"],
    "properties": {"ttl": {"type": ["integer", "null"], "minimum": 1}},
}
COMMAND_BODY = {
    "type": "array",
    "minItems": 1,
    "items": {"type": ["string", "number", "boolean"]},
    "example": ["SET", "k", "v", "EX", 60],
}
PIPELINE_BODY = {"type": "array", "minItems": 1, "maxItems": 1000, "items": COMMAND_BODY}
LIST_QUERY = {
    "cursor": {"type": "string"},
    "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    "prefix": {"type": "string"},
}


def described(
    *in_path: str, body: dict[str, Any] | None = None, query: dict[str, Any] | None = None
) -> dict[str, Any]:
    """`openapi_extra` of a route with `cacheId` and `in_path` in its path, a bearer token, and these."""
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("cacheId", *in_path)
    ]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in (query or {}).items()]
    content = {"application/json": {"schema": body}}
    return {
        "parameters": parameters,
        "security": [{"HTTPBearer": []}],
        **({} if body is None else {"requestBody": {"required": True, "content": content}}),
    }
