"""Code that did not come along: a task may name its address instead (`fileUrl`, providers.md)."""

import asyncio
from typing import Literal, cast

from executor.providers.base import Task
from executor.storage.storage import Storage
from shared.errors import BadRequest
from shared.jobs import RunRequest
from shared.run_payload import check_code
from shared.store import parse_store_request

MAX_CODE_BYTES = 1024 * 1024


class RunAtUrl(RunRequest):
    """A run whose code has to be fetched: `code` is its address until then."""

    code_at_url: Literal[True] = True


async def with_code(storage: Storage, task: Task) -> RunRequest:
    """The run with its code, fetched under the rules for a customer's URL if it has to be.

    Raises `BadRequest` for what is no code, and the errors of fetching.
    """
    request = cast(RunRequest, task.request)
    if not isinstance(request, RunAtUrl):
        return request
    asked = parse_store_request({"url": request.code, "maxBytes": MAX_CODE_BYTES})
    async with storage.content_of(task.job_id, asked) as content:
        data = await asyncio.to_thread(content.path.read_bytes)
    try:
        code = data.decode()
    except UnicodeDecodeError:
        raise BadRequest("what is at fileUrl is not UTF-8 text", code="invalid_request") from None
    check_code(code)
    return request.model_copy(update={"code": code})
