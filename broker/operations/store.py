"""Keeping content: JSON with `data` or the address of a file, or a file as multipart."""

import hashlib
from decimal import Decimal
from typing import Any

from pydantic import Field, ValidationError

from broker.operations.base import Mode, Operation, Params, Shown, Work, mode_of, read_json, with_mode
from broker.uploads import Upload, options_of
from shared.errors import BadRequest, Unavailable, describe_validation
from shared.jobs import Wire
from shared.store import StoreRequest, StoreResult, parse_store_request

TIME_LIMIT_S = 60.0
"""What the executor may take, a customer's URL included."""
SLOWEST_BYTES_PER_S = 250_000
LONGEST_TRANSFER_S = 900.0
UPLOADED = "uploaded"
_TASK = {"mode": "json", "exclude_none": True}


class Conditions(Wire):
    """What a customer makes of it: one provider only, a limit to the price in dollars."""

    provider: str | None = Field(None, max_length=64)
    max_cost_usd: Decimal | None = Field(None, ge=0, le=1_000_000)


def _store_work(body: bytes, _: Params) -> Work:
    fields, mode = mode_of(read_json(body))
    if isinstance(fields, dict):
        fields = _without_ours(fields)
        if isinstance(fields.get("options"), dict):
            fields["options"] = _without_ours(fields["options"])
    request, conditions = parse_store_request(fields), _conditions(fields)
    if request.url is not None:
        return _work(request, conditions, {"url": request.url}, None, url=request.url, mode=mode)
    content = request.content()
    typed = request.model_copy(update={"content_type": request.type_of_data()})
    digest = {"sha256": hashlib.sha256(content).hexdigest()}
    return _work(typed, conditions, digest, len(content), content=content, mode=mode)


def _without_ours(fields: dict[str, Any]) -> dict[str, Any]:
    """An upload is the broker's own word for what it staged: nobody names another's."""
    return {name: value for name, value in fields.items() if name not in {"upload", "maxBytes", "max_bytes"}}


def _uploaded_work(upload: Upload) -> Work:
    """A multipart body as far as it was read. What it costs depends on its length and its options alone."""
    if not upload.has_file:
        raise BadRequest("file is required: send the content as the field `file`", code="data_required")
    fields, mode = mode_of(options_of(upload.fields))
    request = parse_store_request(
        {
            "filename": upload.file_name,
            "contentType": upload.file_type,
            **{name: value for name, value in fields.items() if name in _UPLOAD_FIELDS},
            "upload": UPLOADED,
        }
    )
    size_bytes = upload.file_bytes if upload.declared_bytes is None else upload.declared_bytes
    return _work(request, _conditions(fields), {}, size_bytes, priced=True, mode=mode)


_UPLOAD_FIELDS = ("filename", "fileName", "contentType", "permanent", "ttl")


def _work(
    request: StoreRequest,
    conditions: Conditions,
    source: dict[str, Any],
    size_bytes: int | None,
    *,
    content: bytes | None = None,
    url: str | None = None,
    priced: bool = False,
    mode: Mode | None = None,
) -> Work:
    keeping = {"permanent": request.permanent, "ttl": None if request.permanent else request.ttl_s}
    wanted = conditions.model_dump(mode="json")
    task = request.model_copy(update={"data": None, "encoding": "utf-8", "upload": None})
    meaning = {
        **source,
        **keeping,
        **wanted,
        "filename": request.filename,
        "contentType": request.content_type,
    }
    return Work(
        meaning=with_mode(meaning, mode),
        ask={
            "fileSize": size_bytes,
            "permanent": request.permanent,
            "ttl": request.ttl_s,
            "provider": conditions.provider,
        },
        task=task.model_dump(mode="json", exclude_none=True),
        time_limit_s=TIME_LIMIT_S,
        provider=conditions.provider,
        max_cost_usd=conditions.max_cost_usd,
        priced=with_mode({"bytes": size_bytes, **keeping, **wanted}, mode) if priced else None,
        transfer_s=min(LONGEST_TRANSFER_S, (size_bytes or 0) / SLOWEST_BYTES_PER_S),
        content=content,
        url=url,
        mode=mode,
    )


def _conditions(fields: Any) -> Conditions:
    options = fields.get("options") if isinstance(fields, dict) else None
    try:
        return Conditions.model_validate({**(options if isinstance(options, dict) else {}), **fields})
    except ValidationError as exc:
        raise BadRequest(describe_validation(exc.errors()), code="invalid_request") from None


def _store_result(answer: Any) -> dict[str, object]:
    try:
        return StoreResult.model_validate(answer).model_dump(mode="json")
    except ValidationError:
        raise Unavailable(
            "the executor's answer was not understood; nothing was charged", code="bad_result"
        ) from None


def _shown(result: dict[str, Any], shown: Shown) -> dict[str, Any]:
    """The address under which this broker serves the content."""
    return {**result, "url": shown.base_url + result["url"]} if result["url"].startswith("/") else result


STORE = Operation(
    name="store",
    task_type="store",
    quote_path="/quote/store",
    description="Keep a file, for a time or for good, under its IPFS content id",
    parse=_store_work,
    uploaded=_uploaded_work,
    starting_ask={"fileSize": 1, "ttl": 1},
    example={"data": "Hello", "filename": "hello.txt", "options": {"permanent": False, "ttl": 3600}},
    input_schema={
        "type": "object",
        "properties": {
            "data": {"description": "Text, any JSON, or {url}; base64 when `encoding` says so"},
            "encoding": {"type": "string", "enum": ["utf-8", "base64"]},
            "filename": {"type": "string"},
            "contentType": {"type": "string"},
            "options": {
                "type": "object",
                "properties": {
                    "permanent": {"type": "boolean", "default": False},
                    "ttl": {"type": "integer", "description": "Seconds", "minimum": 1, "default": 3600},
                },
            },
            "provider": {"type": "string"},
            "maxCostUsd": {"type": "number"},
        },
        "required": ["data"],
    },
    read_result=_store_result,
    priced_by=("options",),
    menu=(
        {"fileSize": 1_000_000, "ttl": 3600},
        {"fileSize": 1_000_000, "ttl": 86_400},
        {"fileSize": 1_000_000, "permanent": True},
        {"fileSize": 100_000_000, "ttl": 86_400},
    ),
    leaves=True,
    shown=_shown,
)
