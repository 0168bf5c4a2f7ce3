"""Reading a cache task from the JSON that clients send, in each of its three forms (features.md, X7)."""

from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from shared.caches.limits import DEFAULT_REGION, OPERATIONS_INCLUDED, OPERATIONS_MAX, VALUE_MAX_BYTES
from shared.caches.values import encoded
from shared.errors import BadRequest, describe_validation
from shared.jobs import Wire

CACHE_TASK_TYPES = frozenset({"cache"})
Operation = Literal["create", "get", "set", "delete", "list", "ttl", "update-ttl", "topup"]


class CacheTask(Wire):
    """`id`, `key` and `value` as the operation needs them; `ttl` in seconds, None for none."""

    operation: Operation
    id: str | None = None
    key: str | None = None
    value: Any = None
    ttl: int | None = None
    region: str = DEFAULT_REGION
    cursor: str | None = None
    limit: int = Field(100, ge=1, le=1000)
    prefix: str = ""
    operations: int = Field(OPERATIONS_INCLUDED, ge=1, le=OPERATIONS_MAX)

    @field_validator("operation", mode="before")
    @classmethod
    def _one_spelling(cls, value: Any) -> Any:
        name = str(value).strip().lower().replace("_", "-")
        return "update-ttl" if name == "updatettl" else name


_FIELDS = ("Operation", "Id", "Key", "Value", "Ttl", "Region", "Cursor", "Limit", "Prefix", "Operations")
_NEEDS = {
    "get": ("Id", "Key"),
    "set": ("Value",),
    "delete": ("Id", "Key"),
    "list": ("Id",),
    "ttl": ("Id", "Key"),
    "update-ttl": ("Id", "Key", "Ttl"),
    "topup": ("Id",),
}
"""What an operation cannot do without. A ttl may be null: it takes the ttl away."""


def parse_cache_task(body: dict[str, Any]) -> CacheTask:
    """Read `cacheKey` and the like at the top, else `cacheKey` in `meta`, else `key` in `meta`.

    Raises `BadRequest` with a sentence that says what to change.
    """
    given = _given(body)
    try:
        task = CacheTask.model_validate({field.lower(): value for field, value in given.items()})
    except ValidationError as exc:
        raise BadRequest(describe_validation(exc.errors()), code="invalid_request") from None
    for field in _NEEDS.get(task.operation, ()):
        if field not in given or (given[field] is None and field in ("Id", "Key")):
            raise BadRequest(f"cache{field} is required for {task.operation}", code="invalid_request")
    encoded(task.value, VALUE_MAX_BYTES)
    return task


def _given(body: dict[str, Any]) -> dict[str, Any]:
    raw_meta = body.get("meta")
    meta = raw_meta if isinstance(raw_meta, dict) else {}
    found = {}
    for field in _FIELDS:
        names = ((body, f"cache{field}"), (meta, f"cache{field}"), (meta, field.lower()))
        for place, name in names:
            if name in place:
                found[field] = place[name]
                break
    return found
