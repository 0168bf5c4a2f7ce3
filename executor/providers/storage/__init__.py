"""Storing content: `taskType` store or storage."""

from typing import Any

from shared.store import STORE_TASK_TYPES, StoreRequest, parse_store_request

TASK_TYPES = STORE_TASK_TYPES
DEFAULT_PROVIDER = "local"


def parse(body: dict[str, Any]) -> StoreRequest:
    """Raises 400 with a sentence that says what to change."""
    return parse_store_request(body)
