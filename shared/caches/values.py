"""Values as they are kept: JSON text, but a string that is no JSON by itself is kept as it is.

Upstash's clients write strings bare and read whatever parses as JSON as JSON. Kept like this, `hello` is the
same for them and for us, and the string "123" stays a string, because it is kept with its quotes.
"""

from typing import Any

from pydantic_core import to_json

from shared.errors import BadRequest, GalaksioError
from shared.strict_json import strict_json


def encoded(value: Any, most_bytes: int) -> bytes:
    """The bytes to keep. Raises `BadRequest`, or a 413 for more than `most_bytes`."""
    try:
        data = _encoded(value)
    except ValueError:
        raise BadRequest(
            "The value cannot be kept: no NaN, infinities, half characters, nor over 200 levels of nesting.",
            code="invalid_value",
        ) from None
    if len(data) > most_bytes:
        raise GalaksioError(
            f"The value is {len(data)} bytes as JSON, the limit is {most_bytes}.",
            status=413,
            code="value_too_large",
        )
    return data


def decoded(data: bytes) -> Any:
    """What `encoded` was given; bytes that others wrote are read as JSON, or else as a string."""
    try:
        return strict_json(data)
    except ValueError:
        return data.decode("utf-8", "replace")


def _encoded(value: Any) -> bytes:
    if isinstance(value, str):
        bare = value.encode()
        if not _is_json(bare):
            return bare
    data = to_json(value)
    strict_json(data)
    return data


def _is_json(data: bytes) -> bool:
    try:
        strict_json(data)
    except ValueError:
        return False
    return True
