"""Reading a task: the payload of the seed systems and the plain run, into one `Task`."""

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any

from executor.providers.base import Provider, Registry, Task
from shared.errors import BadRequest
from shared.money import MAX_ATOMIC

INVALID = "Invalid task: jobId, taskType, and provider are required"
JOB_ID_CHARACTERS = 128
_CODE_FIELDS = ("code", "snippet", "fileInline")


@dataclass(frozen=True)
class Ask:
    """A task, and whether its result is to be kept under the job id that the caller chose."""

    task: Task
    keep: bool

    @property
    def fingerprint(self) -> str:
        """What makes two tasks the same: all that they ask for, after defaults and aliases."""
        asked = [self.task.kind, self.task.provider, self.task.request.model_dump(mode="json")]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def parse_task(body: Any, registry: Registry, *, direct: bool = False) -> Ask:
    """Read a body of `POST /execute`, or of `POST /run` when `direct`.

    A body without `taskType` that carries code is a run. Raises `BadRequest` for all that is wrong.
    """
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object", code="invalid_body")
    if isinstance(body.get("payload"), dict):
        body = {**{key: value for key, value in body.items() if key != "payload"}, **body["payload"]}
    job_id, task_type, provider = (body.get(name) for name in ("jobId", "taskType", "provider"))
    plain = direct or (not task_type and any(body.get(name) for name in _CODE_FIELDS))
    if plain:
        task_type = task_type or "run"
    elif not (job_id and task_type and provider):
        raise BadRequest(INVALID, code="invalid_task")
    if job_id is not None:
        _check_job_id(job_id)
    kind, provider = _who(task_type, provider, registry)
    request = registry.kinds[kind].parse({**body, "taskType": task_type})
    spend = _max_spend(body.get("maxSpendAtomic"))
    return Ask(Task(job_id or uuid.uuid4().hex, kind, provider, request, spend), keep=job_id is not None)


def parse_undo(body: Any, registry: Registry) -> tuple[str, Provider]:
    """The job id of a body of `POST /undo`, and whose work it was. Raises `BadRequest`."""
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object", code="invalid_body")
    job_id, task_type, provider = (body.get(name) for name in ("jobId", "taskType", "provider"))
    if not (job_id and task_type and provider):
        raise BadRequest(INVALID, code="invalid_task")
    _check_job_id(job_id)
    return str(job_id), registry.providers[_who(task_type, provider, registry)]


def _check_job_id(job_id: Any) -> None:
    if not (isinstance(job_id, str) and 0 < len(job_id) <= JOB_ID_CHARACTERS):
        raise BadRequest(
            f"jobId must be a text of 1 to {JOB_ID_CHARACTERS} characters", code="invalid_job_id"
        )


def _max_spend(value: Any) -> int | None:
    """What may be paid to others for this job; it is no part of what makes two tasks the same."""
    if value is None:
        return None
    if not (isinstance(value, str) and value.isascii() and value.isdecimal() and int(value) <= MAX_ATOMIC):
        raise BadRequest("maxSpendAtomic must be a whole number as text", code="invalid_task")
    return int(value)


def _who(task_type: Any, provider: Any, registry: Registry) -> tuple[str, str]:
    """The kind of work, and the name of whom to give it to."""
    kind = registry.kind_of(task_type, provider) if isinstance(task_type, str) else None
    if kind is None:
        known = ", ".join(registry.task_types())
        raise BadRequest(f"Unknown taskType; known are {known}.", code="unknown_task_type")
    provider = provider or registry.kinds[kind].DEFAULT_PROVIDER
    if not isinstance(provider, str) or (kind, provider) not in registry.providers:
        known = ", ".join(registry.names(kind))
        raise BadRequest(f"Unknown provider for {kind}; known are {known}.", code="unknown_provider")
    return kind, provider


def job_id_of(body: Any) -> str:
    """The job id to name in an error: the caller's, or `unknown`."""
    value = body.get("jobId") if isinstance(body, dict) else None
    return value[:JOB_ID_CHARACTERS] if isinstance(value, str) and value else "unknown"
