"""What is sold: how a paid route reads its request, what it asks a price for, how long it may take."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from shared.errors import BadRequest, Unavailable
from shared.jobs import (
    DEFAULT_TIMEOUT_S,
    LANGUAGES,
    MEMORY_MB,
    RunRequest,
    RunResult,
)
from shared.run_payload import parse_run_request


@dataclass(frozen=True)
class Work:
    """A request that was read and found good.

    `meaning` is what the request hash is taken over; `ask` are the fields for the quote service;
    `task` is what the executor is told; `time_limit_s` bounds the work.
    """

    meaning: dict[str, Any]
    ask: dict[str, Any]
    task: dict[str, Any]
    time_limit_s: float
    provider: str | None = None
    max_cost_usd: Decimal | None = None


@dataclass(frozen=True)
class Operation:
    """One thing that is sold. `starting_ask` and `example` answer a crawler that sends an empty body.

    `priced_by` names the optional fields that change the price; `menu` are asks whose prices are shown.
    """

    name: str
    quote_path: str
    description: str
    parse: Callable[[bytes], Work]
    starting_ask: dict[str, Any]
    example: dict[str, Any]
    input_schema: dict[str, Any]
    read_result: Callable[[Any], dict[str, object]]
    priced_by: tuple[str, ...] = ()
    menu: tuple[dict[str, Any], ...] = ()

    @property
    def discovery_schema(self) -> dict[str, Any]:
        """The input schema cut to what is required or sets the price: it travels in a header."""
        required = self.input_schema.get("required", [])
        known = self.input_schema["properties"]
        properties = {
            name: {word: known[name][word] for word in ("type", "enum") if word in known[name]}
            for name in (*required, *self.priced_by)
        }
        return {"properties": properties, "required": required}


def read_json(body: bytes) -> Any:
    """The JSON of a body. Raises `BadRequest` for anything that is not JSON."""
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not valid JSON", code="invalid_json") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _run_work(body: bytes) -> Work:
    request = parse_run_request(read_json(body))
    task = request.model_dump(mode="json", exclude={"provider", "max_cost_usd"})
    return Work(
        meaning=request.model_dump(mode="json"),
        ask={
            "codeSize": len(request.code.encode()),
            "language": request.language,
            "size": request.size,
            "timeout": request.timeout_s,
            "dependencies": len(request.dependencies),
            "provider": request.provider,
        },
        task=task,
        time_limit_s=request.timeout_s,
        provider=request.provider,
        max_cost_usd=request.max_cost_usd,
    )


def _run_result(answer: Any) -> dict[str, object]:
    try:
        result = RunResult.model_validate(answer).model_dump(mode="json")
        json.dumps(result, ensure_ascii=False).encode()
        return result
    except (ValidationError, UnicodeEncodeError):
        raise Unavailable(
            "the executor's answer was not understood; nothing was charged", code="bad_result"
        ) from None


RUN = Operation(
    name="run",
    quote_path="/quote/run",
    description=f"Run a snippet ({', '.join(LANGUAGES)}) in a sandbox without network",
    parse=_run_work,
    starting_ask={"codeSize": 1, "timeout": 1, "size": "small"},
    example={"code": "print('Hello')", "language": "python"},
    input_schema=RunRequest.model_json_schema(),
    read_result=_run_result,
    priced_by=("size", "timeout"),
    menu=tuple(
        {"size": size, "memoryMb": memory_mb, "timeout": timeout_s}
        for size, memory_mb in MEMORY_MB.items()
        for timeout_s in (1, int(DEFAULT_TIMEOUT_S))
    ),
)

OPERATIONS = {operation.name: operation for operation in (RUN,)}
"""By the name under which jobs are written down."""
