"""Time is aware UTC and comes from one place, so that tests can move it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]
"""Unix seconds."""

system_clock: Clock = time.time


def iso(seconds: float) -> str:
    """ISO 8601 in UTC with milliseconds: `2026-11-21T06:46:54.123Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_now() -> str:
    return iso(system_clock())
