"""What an agent asks for: which operation, with the body that its route would be sent."""

import json
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from broker.operations import CACHE, RUN, STORE, Operation
from broker.payments.paid_route import Call
from shared.errors import BadRequest

SOLD: dict[str, tuple[Operation, str]] = {
    RUN.name: (RUN, "/run"),
    STORE.name: (STORE, "/store"),
    CACHE.name: (CACHE, "/cache"),
}
"""What agents can buy by message, and the route that sells the same."""
_OPERATIONS = {
    "run": RUN.name,
    "compute": RUN.name,
    "execute": RUN.name,
    "store": STORE.name,
    "storage": STORE.name,
    "cache": CACHE.name,
}
_NAMES = ("taskType", "task_type", "operation")

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Asked:
    """A task as its route reads it: `operation` by name, `body` is JSON."""

    operation: str
    body: bytes

    def call(self, scope: Scope, label: str | None, payment: Headers) -> Call:
        """The request that the gate is asked with.

        Nothing of the message's own headers is in it: whatever pays comes with `payment`.
        """
        operation, route = SOLD[self.operation]
        labelled = [] if label is None else [(b"x-wallet", label.encode())]
        headers = [*labelled, *payment]
        made = {**scope, "method": "POST", "path_params": {}, "headers": headers}
        return Call(operation, route, made, self.body)


def read_task(payload: dict[str, Any]) -> Asked:
    """Read `{taskType, …fields}`, `{operation, …}` or either in `{task}`; code without a type is a run.

    Raises `BadRequest` for a task that is not sold here; its fields are read by the operation.
    """
    task = payload["task"] if isinstance(payload.get("task"), dict) else payload
    named = [task[name] for name in _NAMES if task.get(name) is not None]
    if not named and task.get("code") is not None:
        named = [RUN.name]
    if not named:
        raise BadRequest(f"taskType is required: one of {', '.join(_OPERATIONS)}", code="task_type_required")
    found = {_OPERATIONS.get(name) if isinstance(name, str) else None for name in named}
    operation = found.pop()
    if found or operation is None:
        raise BadRequest(f"taskType must be one of {', '.join(_OPERATIONS)}", code="unknown_task_type")
    fields = {name: value for name, value in task.items() if name not in _NAMES}
    return Asked(operation, json.dumps(fields, separators=(",", ":")).encode())
