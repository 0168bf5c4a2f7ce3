"""Lines of JSON as they come, over HTTP."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse

from shared.errors import GalaksioError

NDJSON = "application/x-ndjson"
EVENTS = "text/event-stream"
# A proxy that gathers the answer before it passes it on would undo all of this.
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


async def streamed(
    items: AsyncGenerator[dict[str, Any], None], job_id: str, *, events: bool
) -> StreamingResponse:
    """`items` as lines, or as server-sent events. Raises what comes before the first item.

    What goes wrong later is the last line: `{jobId, status: "failed", success: false, error, code}`.
    """
    try:
        first = await anext(items)
    except GalaksioError as error:
        error.extra = {"jobId": job_id, "status": "failed", **error.extra}
        raise
    prefix, suffix = ("data: ", "\n\n") if events else ("", "\n")

    async def lines() -> AsyncIterator[str]:
        async with aclosing(items):
            async for item in _with_failure(first, items, job_id):
                yield f"{prefix}{json.dumps(item)}{suffix}"

    return StreamingResponse(lines(), media_type=EVENTS if events else NDJSON, headers=_HEADERS)


async def _with_failure(
    first: dict[str, Any], items: AsyncGenerator[dict[str, Any], None], job_id: str
) -> AsyncIterator[dict[str, Any]]:
    if first.get("data") != "":
        yield first
    try:
        async for item in items:
            yield item
    except GalaksioError as error:
        failed = {"status": "failed", "success": False, "error": error.message, "code": error.code}
        yield {"jobId": job_id, **failed, **error.extra}
