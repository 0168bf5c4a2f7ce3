"""Finished answers, told again to equal requests for as long as what they say is believed anyway."""

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from shared.clock import Clock
from shared.middleware import header

MAX_ANSWERS = 256
MAX_KEY_BYTES = 4096

Key = tuple[bytes, ...]
"""All that an answer may depend on."""


@dataclass(frozen=True)
class Answer:
    """A body and its media type, which depends on what the request accepts."""

    body: bytes
    media_type: str

    def response(self) -> Response:
        return Response(self.body, media_type=self.media_type, headers={"Vary": "Accept"})


class Answers:
    """At most `MAX_ANSWERS`. One is told until its time, and only while the state is what it was."""

    def __init__(self, clock: Clock, state: Callable[[], int]) -> None:
        self._clock = clock
        self.state = state
        """Another number whenever an equal request might be answered in another way now."""
        self._kept: OrderedDict[Key, tuple[float, float, int, Answer]] = OrderedDict()

    def find(self, key: Key) -> Answer | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        since, until, state, answer = kept
        # A clock that was set back ends it too.
        return answer if since <= self._clock() < until and state == self.state() else None

    def keep(self, key: Key, answer: Answer, until: float, state: int) -> None:
        """`state` is what it was before the answer was made, `until` in the clock's seconds."""
        now = self._clock()
        if now < until and sum(map(len, key)) <= MAX_KEY_BYTES:
            self._kept[key] = (now, until, state, answer)
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_ANSWERS:
                self._kept.popitem(last=False)


async def key_of(request: Request) -> Key:
    """All of a request that a comparison may depend on."""
    scope = request.scope
    said = (header(scope, b"accept"), header(scope, b"content-type"))
    return (
        scope["method"].encode(),
        scope["path"].encode(),
        scope["query_string"],
        *said,
        await request.body(),
    )


class ToldAgain(APIRoute):
    """A route that looks first whether an equal request was answered just now (`app.state.answers`)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def look_first(request: Request) -> Response:
            answers: Answers = request.app.state.answers
            answer = answers.find(await key_of(request))
            return await handle(request) if answer is None else answer.response()

        return look_first
