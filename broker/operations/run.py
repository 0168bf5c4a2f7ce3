"""Running code."""

import json
from typing import Any

from pydantic import ValidationError

from broker.operations.base import Operation, Params, Work, mode_of, read_json, with_mode
from shared.errors import Unavailable
from shared.jobs import (
    DEFAULT_TIMEOUT_S,
    LANGUAGES,
    MEMORY_MB,
    RunRequest,
    RunResult,
)
from shared.run_payload import parse_run_request


def _run_work(body: bytes, _: Params) -> Work:
    fields, mode = mode_of(read_json(body))
    request = parse_run_request(fields)
    task = request.model_dump(mode="json", exclude={"provider", "max_cost_usd"})
    return Work(
        meaning=with_mode(request.model_dump(mode="json"), mode),
        ask={
            "codeSize": len(request.code.encode()),
            "language": request.language,
            "size": request.size,
            "timeout": request.timeout_s,
            "dependencies": len(request.dependencies),
            "inputs": bool(request.stdin or request.args or request.files or request.env),
            "provider": request.provider,
        },
        task=task,
        time_limit_s=request.timeout_s,
        provider=request.provider,
        max_cost_usd=request.max_cost_usd,
        mode=mode,
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
    task_type="run",
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
