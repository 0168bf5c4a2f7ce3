"""`Range`, `If-Range` and `If-None-Match` of a download (RFC 9110, sections 13 and 14)."""

import re

_ONE_RANGE = re.compile(r"bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})", re.IGNORECASE)


class Unsatisfiable(Exception):
    """The range begins behind the end."""


def range_of(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """The bytes asked for as `(start, end)`, end exclusive; None for all of them.

    Several ranges, another unit and nonsense are passed over, as the RFC allows: all is sent.
    Raises `Unsatisfiable`.
    """
    found = _ONE_RANGE.fullmatch((header or "").strip())
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:  # the last so many bytes
        start, end = max(0, size_bytes - int(found[2])), size_bytes
    else:
        start = int(found[1])
        end = min(int(found[2]) + 1, size_bytes) if found[2] else size_bytes
        if found[2] and int(found[2]) < start:
            return None
    if start >= size_bytes or start >= end:
        raise Unsatisfiable
    return start, end


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether the caller has this representation already. Weak comparison."""
    given = [part.strip().removeprefix("W/") for part in (if_none_match or "").split(",")]
    return etag in given or "*" in given


def range_holds(if_range: str | None, etag: str) -> bool:
    """Whether a range may be sent: always without a condition, else for the very same content only."""
    return if_range is None or if_range.strip() == etag
