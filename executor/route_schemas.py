"""OpenAPI of the executor's routes, which read their tasks themselves: a task has many spellings (api.md)."""

from typing import Any, Literal

from executor.streamed import EVENTS, NDJSON
from shared.caches.task import CACHE_TASK_TYPES
from shared.jobs import RunRequest, RunResult, Wire
from shared.openapi import Responses, json_request, refusals
from shared.run_payload import RUN_TASK_TYPES
from shared.store import STORE_TASK_TYPES

TASK_TYPES = RUN_TASK_TYPES | STORE_TASK_TYPES | CACHE_TASK_TYPES
_JOB_ID = {"type": "string", "minLength": 1, "maxLength": 128}
_NAMED = {"jobId": _JOB_ID, "taskType": {"type": "string"}, "provider": {"type": "string"}}
_FAILED = "The body is an error's, with `jobId` and `status: failed`"

TASK = json_request(
    {
        "type": "object",
        "required": ["jobId", "taskType", "provider"],
        "properties": {
            **_NAMED,
            "taskType": {"type": "string", "enum": sorted(TASK_TYPES)},
            "maxSpendAtomic": {
                "type": "string",
                "pattern": "^[0-9]{1,15}$",
                "description": "What others may be paid for it, in 10^-6 USD",
            },
            "payload": {"type": "object", "description": "The other fields may stand in it"},
        },
        "additionalProperties": True,
    },
    {"jobId": "job-1", "taskType": "run", "provider": "local", "code": "print('Hello')"},
)
UNDO = json_request(
    {"type": "object", "required": list(_NAMED), "properties": _NAMED},
    {"jobId": "job-1", "taskType": "run", "provider": "local"},
)


def _run() -> dict[str, Any]:
    described = json_request(RunRequest, {"code": "print('Hello')", "language": "python"})
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    schema["properties"] |= _NAMED
    return described


RUN = _run()


class Whoami(Wire):
    """Which executor answers: several may stand behind one address.

    `instance` is made anew at each start, `machine` its host name, `payer` the address that it pays from.
    """

    instance: str
    machine: str
    payer: str | None = None


class Done(Wire):
    """A task that was done, or whose result was kept. What a `result` is depends on the task."""

    job_id: str
    status: Literal["completed"]
    success: Literal[True]
    result: Any


class Ran(Done):
    """A run that came to its end: code that fails is completed too."""

    result: RunResult


class Undone(Wire):
    """A job that was taken back."""

    job_id: str
    status: Literal["undone"]
    success: Literal[True]


TASK_REFUSED: Responses = refusals(
    {
        400: f"A malformed task. {_FAILED}",
        402: "The operations of the cache are used up",
        404: "No such upload, cache or key",
        409: "The job id was used for another task, or the job was taken back",
        410: "The operations of the cache are used up, and no more are sold for it",
        413: "More than was paid for, or than is kept",
        422: "No JSON, or it cannot be done: a NUL byte, a file name that is taken, nothing at the address",
        500: f"It failed here. {_FAILED}",
        501: "This provider does not do that; another one may",
        502: "Somebody who was asked for it failed, or did not answer",
        503: "No room for more work now, or something that is needed does not answer",
        507: "There is no room for the content, or the cache is full",
    }
)
UNDO_REFUSED: Responses = {status: TASK_REFUSED[status] for status in (400, 422, 500, 502, 503)}
RUN_ANSWERS: Responses = {
    **TASK_REFUSED,
    200: {
        "model": Ran,
        "description": "The run, or with `?stream=1` its output as it comes and the run as the last line",
        "content": {NDJSON: {"schema": {"type": "string"}}, EVENTS: {"schema": {"type": "string"}}},
    },
}
