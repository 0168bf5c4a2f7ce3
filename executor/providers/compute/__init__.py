"""Running code: `taskType` run, compute or execute."""

from typing import Any

from shared.jobs import RunRequest
from shared.run_payload import RUN_TASK_TYPES, parse_run_request

TASK_TYPES = RUN_TASK_TYPES
DEFAULT_PROVIDER = "local"


def parse(body: dict[str, Any]) -> RunRequest:
    """Raises 400 or 422 with a sentence that says what to change."""
    return parse_run_request(body)
