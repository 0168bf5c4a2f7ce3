"""Storing content: `taskType` store or storage; galaksio_storage also reads and searches what it keeps."""

from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from shared.errors import BadRequest, describe_validation
from shared.jobs import Wire
from shared.store import STORE_TASK_TYPES, StoreRequest, parse_store_request

TASK_TYPES = STORE_TASK_TYPES
DEFAULT_PROVIDER = "local"
READS = "galaksio_storage"
"""Who does more than keep."""


class StorageAsk(Wire):
    """What is asked of a store but to keep something: the content of a transaction, a search, its health."""

    operation: Literal["data", "query", "health"]
    tx: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    query: dict[str, Any] | None = Field(None, max_length=16)

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "StorageAsk":
        if (self.operation == "data" and self.tx is None) or (self.operation == "query" and not self.query):
            raise ValueError("data needs `tx`, and query needs `query`")
        return self


def parse(body: dict[str, Any]) -> StoreRequest | StorageAsk:
    """`storageOperation` upload (when nothing is said), data, query or health.

    Raises 400 with a sentence that says what to change.
    """
    operation = body.get("storageOperation")
    if operation is None or operation == "upload":
        return parse_store_request(body)
    if body.get("provider") != READS:
        raise BadRequest(f"only {READS} has storage operations; send content", code="invalid_request")
    try:
        return StorageAsk.model_validate(
            {"operation": operation, "tx": body.get("tx"), "query": body.get("query")}
        )
    except ValidationError as exc:
        raise BadRequest(describe_validation(exc.errors()), code="invalid_request") from None
