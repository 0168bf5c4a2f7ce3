"""Small request bodies, read up to a limit of their own."""

from starlette.requests import ClientDisconnect, Request

from shared.errors import BadRequest, GalaksioError


async def small_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body. Raises a 413 over `limit_bytes`, `BadRequest` when it breaks off."""
    parts, size_bytes = [], 0
    try:
        async for part in request.stream():
            size_bytes += len(part)
            if size_bytes > limit_bytes:
                raise GalaksioError(
                    f"the body is over {limit_bytes // 1024} KB", status=413, code="body_too_large"
                )
            parts.append(part)
    except ClientDisconnect:
        raise BadRequest("the body broke off", code="body_broke_off") from None
    return b"".join(parts)
