"""Values as they are kept: JSON text, but a string that is no JSON by itself is kept as it is.

Upstash's clients write strings bare and read whatever parses as JSON as JSON. Kept like this, `hello` is the
same for them and for us, and the string "123" stays a string, because it is kept with its quotes.
"""

import json
import math
from typing import Any

from shared.errors import BadRequest, GalaksioError


def encoded(value: Any, most_bytes: int) -> bytes:
    """The bytes to keep. Raises `BadRequest`, or a 413 for more than `most_bytes`."""
    try:
        text = _text(value)
        data = text.encode()
    except (ValueError, TypeError, RecursionError):
        raise BadRequest(
            "The value is no JSON: NaN, infinities, lone surrogates and very deep nesting are not.",
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
    text = data.decode("utf-8", "replace")
    try:
        return _parsed(text)
    except (ValueError, RecursionError):
        return text


def _text(value: Any) -> str:
    if isinstance(value, str):
        try:
            _parsed(value)
        except (ValueError, RecursionError):
            return value
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _parsed(text: str) -> Any:
    """Strict JSON, as other languages have it, that can be written as UTF-8. Raises `ValueError`."""
    value = json.loads(text, parse_float=_finite, parse_constant=_refuse)
    if "\\u" in text:  # it may spell half a character
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _refuse(text: str) -> None:
    raise ValueError(text)
