"""Reading a run from the JSON that clients send: today's form, and the older task payloads.

`api.md` (Broker) fixes what is taken; each mistake has a sentence and a code of its own.
"""

import base64
import binascii
import json
from typing import Any

from pydantic import ValidationError

from shared.errors import BadRequest, GalaksioError, describe_validation
from shared.jobs import CODE_NAMES, OUTPUT_FOLDER, RunRequest

RUN_TASK_TYPES = frozenset({"run", "compute", "execute"})
MAX_ARGUMENT_BYTES = 96 * 1024
"""`args` and `env` together: Linux takes 128 KiB in one string."""
_CODE_WORDS: dict[tuple[int | str, ...], str] = {
    ("language",): "unknown_language",
    ("size",): "unknown_size",
    ("dependencies",): "dependency_invalid",
}
"""What an error is called when it is about the named field."""


def parse_run_request(body: Any) -> RunRequest:
    """Read a run from JSON: `{code, language, …}`, or the older task payload, bare or in `{payload}`.

    The code stands in `code`, else in `snippet`, `meta.snippet` or base64 `fileInline` (seed 001 and
    the merit-systems format). Raises `BadRequest` with a sentence that says what to change, or a
    422 for a NUL byte in the code (sandbox.md, trap 6).
    """
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object with `code`", code="invalid_body")
    task = body["payload"] if isinstance(body.get("payload"), dict) else body
    kind = task.get("taskType", "run")
    if not isinstance(kind, str) or kind not in RUN_TASK_TYPES:
        raise BadRequest(
            f"taskType must be one of {', '.join(sorted(RUN_TASK_TYPES))}", code="unknown_task_type"
        )
    code = check_code(_code_of(task))
    if not _is_text(task):
        raise GalaksioError(
            "a lone surrogate is no text and cannot be passed on", status=422, code="invalid_text"
        )
    fields = {
        **task,
        "code": code,
        "language": task.get("language") or "python",
        "dependencies": task.get("dependencies") or [],
    }
    try:
        request = RunRequest.model_validate(fields)
    except ValidationError as exc:
        code_word = _CODE_WORDS.get(exc.errors()[0]["loc"][:1], "invalid_request")
        raise BadRequest(describe_validation(exc.errors()), code=code_word) from None
    if request.dependencies and request.language != "python":
        raise BadRequest("dependencies are offered for python only", code="dependencies_unsupported")
    _check_it_can_be_started(request)
    return request


def check_code(code: Any) -> str:
    """The code, which is a text with something in it. Raises as `parse_run_request` does."""
    if not isinstance(code, str) or not code.strip():
        raise BadRequest("code is required", code="code_required")
    if "\0" in code:
        raise GalaksioError("code contains a NUL byte", status=422, code="nul_in_code")
    return code


def has_code(task: dict[str, Any]) -> bool:
    """Whether the code came along, wherever it stands."""
    return _code_of(task) is not None


def _is_text(value: Any) -> bool:
    """JSON may spell half a character (`"\\ud800"`); no program can be given one."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    except RecursionError:  # just shallow enough to be read
        raise BadRequest("the body is nested too deeply", code="invalid_body") from None
    return True


def _check_it_can_be_started(request: RunRequest) -> None:
    used = [*request.args, *(part for item in request.env.items() for part in item)]
    size = sum(len(text.encode()) + 1 for text in used)
    if size > MAX_ARGUMENT_BYTES:
        raise GalaksioError(
            f"args and env are {size} bytes, the limit is {MAX_ARGUMENT_BYTES}; use stdin or files",
            status=422,
            code="arguments_too_large",
        )
    reserved = {CODE_NAMES[request.language], OUTPUT_FOLDER}
    if reserved & {file.name for file in request.files}:
        raise GalaksioError(
            f"files: {' and '.join(sorted(reserved))} are taken, by the code and by the folder for results",
            status=422,
            code="reserved_file_name",
        )


def _code_of(task: dict[str, Any]) -> Any:
    raw_meta = task.get("meta")
    meta: dict[str, Any] = raw_meta if isinstance(raw_meta, dict) else {}
    for value in (task.get("code"), task.get("snippet"), meta.get("snippet"), meta.get("code")):
        if value is not None:
            return value
    if isinstance(inline := task.get("fileInline"), str):
        try:
            return base64.b64decode(inline, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise BadRequest("fileInline is not base64 of UTF-8 text", code="invalid_request") from None
    return None
