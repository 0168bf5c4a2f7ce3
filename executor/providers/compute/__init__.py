"""Running code: `taskType` run, compute or execute."""

from typing import Any

from executor.providers.compute.base import RunAtUrl
from shared.jobs import RunRequest
from shared.run_payload import RUN_TASK_TYPES, has_code, parse_run_request

TASK_TYPES = RUN_TASK_TYPES
DEFAULT_PROVIDER = "local"


def parse(body: dict[str, Any]) -> RunRequest:
    """Raises 400 or 422 with a sentence that says what to change."""
    url = body.get("fileUrl")
    if has_code(body) or not isinstance(url, str):
        return parse_run_request(body)
    request = parse_run_request({**body, "code": url})
    return RunAtUrl.model_validate(request.model_dump())
