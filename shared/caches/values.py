"""Values as they are kept: JSON text, but a string that is no JSON by itself is kept as it is.

Upstash's clients write strings bare and read whatever parses as JSON as JSON. Kept like this, `hello` is the
same for them and for us, and the string "123" stays a string, because it is kept with its quotes.

Parsed by pydantic's parser, which is strict, ends at 200 levels of nesting by itself (Python's own goes by a
limit that libraries raise, and then ends the process) and is the faster one.
"""

import json
import re
from typing import Any

from pydantic_core import from_json, to_json

from shared.errors import BadRequest, GalaksioError

_MAY_OVERFLOW = re.compile(rb"[0-9][eE]\+?[0-9]{3}|[0-9]{300}")
"""Numbers that may be read as an infinity, which JSON cannot say."""


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
        return _parsed(data)
    except ValueError:
        return data.decode("utf-8", "replace")


def _encoded(value: Any) -> bytes:
    if isinstance(value, str):
        bare = value.encode()
        if not _is_json(bare):
            return bare
    data = to_json(value)
    _parsed(data)
    return data


def _is_json(data: bytes) -> bool:
    try:
        _parsed(data)
    except ValueError:
        return False
    return True


def _parsed(data: bytes) -> Any:
    """Raises `ValueError` for what is no strict JSON."""
    value = from_json(data, allow_inf_nan=False)
    if _MAY_OVERFLOW.search(data):
        json.dumps(value, allow_nan=False)
    return value
