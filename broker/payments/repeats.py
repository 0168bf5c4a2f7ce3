"""Finished 402 answers, kept for a moment to be told again to an equal request (`repeat_middleware`).

Only the gate decides that an answer may be kept, and until when; only a plain 402 is.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from starlette.types import Message, Scope, Send

from shared.clock import Clock
from shared.middleware import REQUEST_ID

MAX_AGE_S = 1.0
"""What the broker learns meanwhile (that its executor is full, say) is said to everybody by then.

Long enough that a flood of one request costs the gate one answer a second.
"""
MAX_ENTRIES = 1000
MAX_BYTES = 8 * 1024 * 1024
"""Of all requests and answers that are kept, together."""

SEEN_S = 60.0
MAX_SEEN = 10_000
"""An answer is kept only for a request that came before: one that never comes again costs no keeping."""

LENGTH = b"content-length"
_HEADERS = sorted([b"payment-required", b"cache-control", b"vary", b"content-type", LENGTH, REQUEST_ID])
"""The headers of a 402 that says the same to everybody; one with any other, or without one, is not kept."""
_VARY = frozenset({b"Accept", b"Accept, Origin"})
"""It may depend on `Accept`, which is in the key, and on `Origin`, with which nothing is told again."""
_VERDICT = "galaksio.told_until_ms"

Key = tuple[Any, ...]
"""All that the answer may depend on; byte strings, but for the scheme and the socket's address."""


def may_be_told_again(scope: Scope, until_ms: int) -> None:
    """The gate's word that its 402 to this request is right for an equal one until `until_ms` (Unix time)."""
    verdict = scope.get(_VERDICT)
    if verdict is not None:
        verdict.append(until_ms)


@dataclass(frozen=True, slots=True)
class Answer:
    """A 402 in the pieces around its request id. `kept_at` and `until` are Unix seconds."""

    headers: list[tuple[bytes, bytes]]
    length_at: int
    id_at: int
    before_id: bytes
    after_id: bytes
    kept_at: float
    until: float
    size_bytes: int

    async def send_as(self, id_: bytes, send: Send) -> None:
        """Send it as the answer to the request `id_`."""
        body = self.before_id + id_ + self.after_id
        headers = self.headers.copy()
        headers[self.length_at] = (LENGTH, b"%d" % len(body))
        headers[self.id_at] = (REQUEST_ID, id_)
        await send({"type": "http.response.start", "status": 402, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Repeats:
    """At most `MAX_ENTRIES` answers of `MAX_BYTES` together, none of them older than `MAX_AGE_S`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[Key, Answer] = OrderedDict()
        self.size_bytes = 0
        self._seen: set[int] = set()
        self._seen_until = 0.0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Key) -> Answer | None:
        """The answer to an equal request, while it stands."""
        answer = self._kept.get(key)
        if answer is not None and answer.kept_at <= self._clock() < answer.until:
            return answer
        return None

    def seen(self, key: Key) -> bool:
        """Whether an equal request came before, within about `SEEN_S`; from now on it did.

        Only a hash is remembered: taking one request for another keeps an answer early, under its own key.
        """
        now = self._clock()
        if now >= self._seen_until or len(self._seen) >= MAX_SEEN:
            self._seen.clear()
            self._seen_until = now + SEEN_S
        mark = hash(key)
        before = mark in self._seen
        self._seen.add(mark)
        return before

    def keeping(self, key: Key, scope: Scope, send: Send) -> Send:
        """`send`, which also keeps the answer if the gate says that it may be told again."""
        verdict: list[int] = []
        scope[_VERDICT] = verdict
        start: Message | None = None

        async def keep_and_send(message: Message) -> None:
            nonlocal start
            if verdict:
                if message["type"] == "http.response.start":
                    start = message
                elif start is not None and not message.get("more_body", False):
                    self._keep(key, min(verdict), start, message.get("body", b""))
                else:
                    start = None
            await send(message)

        return keep_and_send

    def _keep(self, key: Key, until_ms: int, start: Message, body: bytes) -> None:
        headers = [(name, value) for name, value in start["headers"]]
        values = dict(headers)
        if start["status"] != 402 or sorted(name for name, _ in headers) != _HEADERS:
            return
        if values[b"vary"] not in _VARY or values[b"content-type"] != b"application/json":
            return
        # A caller may choose an id that also stands elsewhere: then it cannot be replaced.
        around = body.split(b'"requestId":"' + values[REQUEST_ID] + b'"')
        if len(around) != 2 or body.count(values[REQUEST_ID]) != 1:
            return
        now = self._clock()
        names = [name for name, _ in headers]
        answer = Answer(
            headers=headers,
            length_at=names.index(LENGTH),
            id_at=names.index(REQUEST_ID),
            before_id=around[0] + b'"requestId":"',
            after_id=b'"' + around[1],
            kept_at=now,
            until=min(now + MAX_AGE_S, until_ms / 1000),
            size_bytes=len(body) + sum(map(len, [*names, *values.values()])) + _bytes_of(key),
        )
        self._forget(key)
        self._kept[key] = answer
        self.size_bytes += answer.size_bytes
        self._make_room(now)

    def _make_room(self, now: float) -> None:
        """Drop what is over, and the oldest of the rest where that is too much: none would live long."""
        while self._kept:
            key, oldest = next(iter(self._kept.items()))
            full = len(self._kept) > MAX_ENTRIES or self.size_bytes > MAX_BYTES
            if not full and now < oldest.until:
                break
            self._forget(key)

    def _forget(self, key: Key) -> None:
        answer = self._kept.pop(key, None)
        if answer is not None:
            self.size_bytes -= answer.size_bytes


def _bytes_of(key: Key) -> int:
    return sum(len(part) for part in key if isinstance(part, bytes))
