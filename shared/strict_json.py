"""JSON of other people, read strictly: what comes out can always be written as JSON again.

Parsed by pydantic's parser, which is strict, ends at 200 levels of nesting by itself (Python's own goes by a
limit that libraries raise, and then ends the process) and is the faster one.
"""

import json
import re
from typing import Any

from pydantic_core import from_json

_MAY_OVERFLOW = re.compile(rb"[0-9][eE]\+?[0-9]{3}|[0-9]{300}")
"""Numbers that may be read as an infinity, which JSON cannot say."""


def strict_json(data: bytes) -> Any:
    """The value. Raises `ValueError` for what is no strict JSON: also NaN, infinities, half characters."""
    value = from_json(data, allow_inf_nan=False)
    if _MAY_OVERFLOW.search(data):
        json.dumps(value, allow_nan=False)
    return value
