"""Sums over rows that do not change any more: each row is read once, and not again every second.

A tally keeps what it has read of the rows up to a moment ago and reads only the later ones. It is taken
anew now and then, for a row that another broker committed late.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Select

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
LATE_MS = 2 * MINUTE_MS
"""A row may be seen this long after the time that stands in it: a commit waits for other writers."""
RECOUNT_MS = HOUR_MS

Key = tuple[Any, ...]
Sums = tuple[int, ...]


class Tally:
    """What `query(from_ms, until_ms)` finds, added up by key over all time, or over the last `span_ms`.

    Its rows begin with `keys` columns that tell them apart, of which the first is the Unix minute when there
    is a span; the others are added up. Ranges begin and end at whole minutes.
    """

    def __init__(
        self, query: Callable[[int, int], Select[Any]], *, keys: int, span_ms: int | None = None
    ) -> None:
        self._query = query
        self._keys = keys
        self._span_ms = span_ms
        self._kept: dict[Key, Sums] = {}
        self._begun_ms = self._until_ms = 0

    def read(self, connection: Connection, now_ms: int) -> dict[Key, Sums]:
        """All sums as of `now_ms`. Not for two threads at once."""
        first = 0 if self._span_ms is None else _whole(now_ms - self._span_ms)
        edge = max(first, _whole(now_ms - LATE_MS))
        if not self._begun_ms or not 0 <= now_ms - self._begun_ms < RECOUNT_MS:
            self._kept, self._begun_ms, self._until_ms = {}, now_ms, first
        if edge > self._until_ms:
            self._kept = self._with(connection, self._kept, max(first, self._until_ms), edge)
            self._until_ms = edge
        if self._span_ms is not None:
            self._kept = {key: sums for key, sums in self._kept.items() if key[0] * MINUTE_MS >= first}
        # Not from `edge`: after a clock was set back, that lies before what is kept.
        return self._with(connection, self._kept, self._until_ms, _whole(now_ms) + HOUR_MS)

    def _with(
        self, connection: Connection, kept: dict[Key, Sums], from_ms: int, until_ms: int
    ) -> dict[Key, Sums]:
        found = dict(kept)
        for row in connection.execute(self._query(from_ms, until_ms)):
            key, more = tuple(row[: self._keys]), tuple(int(value or 0) for value in row[self._keys :])
            before = found.get(key, (0,) * len(more))
            found[key] = tuple(one + other for one, other in zip(before, more, strict=True))
        return found


def _whole(at_ms: int) -> int:
    return at_ms // MINUTE_MS * MINUTE_MS
