"""The beats as server-sent events and over a WebSocket."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
from fastapi import WebSocket, WebSocketDisconnect
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.types import Receive, Scope, Send

from broker.dashboard.beats import Beat, Beats, Listener, TooManyListeners
from broker.dashboard.guard import admit
from broker.ratelimits import RateLimited, RateLimits
from shared.errors import GalaksioError
from shared.logs import get_logger
from shared.observed import REFUSED

log = get_logger(__name__)

SEND_TIMEOUT_S = 10.0
"""For one message to leave this process; a reader that has stopped reading is let go."""
TOKEN_TIMEOUT_S = 10.0
STOP_GRACE_S = 2.0
MAX_TOKEN_MESSAGE = 4096
_POLICY_VIOLATION, _TRY_AGAIN_LATER, _GOING_AWAY = 1008, 1013, 1001
_TROUBLE = json.dumps({"error": "the numbers cannot be had now: see the broker's log"})


class Events(EventSourceResponse):
    """Server-sent events `stats`, `job` and `trouble`. Raises `TooManyListeners` when it is made."""

    def __init__(self, beats: Beats) -> None:
        self._listening = beats.listening()
        self._listener = self._listening.__enter__()
        self._stopping = anyio.Event()
        super().__init__(
            _events(self._listener),
            send_timeout=SEND_TIMEOUT_S,
            shutdown_event=self._stopping,
            shutdown_grace_period=STOP_GRACE_S,
            sep="\n",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ending = asyncio.create_task(self._end_when_stopping())
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            log.info("dashboard_reader_stopped_reading")
        finally:
            ending.cancel()
            self._listening.__exit__(None, None, None)

    async def _end_when_stopping(self) -> None:
        """An answer that is ended, and not cut off, is no error in the server's log."""
        await self._stopping.wait()
        self._listener.end()


async def _events(listener: Listener) -> AsyncIterator[ServerSentEvent]:
    async for beat in listener:
        yield ServerSentEvent(beat.stats or _TROUBLE, event="stats" if beat.stats else "trouble", sep="\n")
        for job in beat.jobs:
            yield ServerSentEvent(job, event="job", sep="\n")


async def metrics(socket: WebSocket, beats: Beats, limits: RateLimits) -> None:
    """Send the numbers once a second to whoever shows the operator's token; 1008 to all others."""
    await socket.accept()
    try:
        await limits.count_request(socket.scope)
        await admit(socket, await _token(socket))
        with beats.listening() as listener:
            await _both(socket, listener)
        await socket.close(_GOING_AWAY)
    except GalaksioError as exc:
        socket.scope[REFUSED] = exc.code
        later = isinstance(exc, RateLimited | TooManyListeners)
        await socket.close(_TRY_AGAIN_LATER if later else _POLICY_VIOLATION, exc.message)
    except WebSocketDisconnect:
        pass


async def _token(socket: WebSocket) -> str | None:
    """From the Authorization header, or the first message `{"token": "…"}`."""
    scheme, _, credentials = socket.headers.get("authorization", "").partition(" ")
    if scheme:
        return credentials.strip() if scheme.lower() == "bearer" else None
    try:
        async with asyncio.timeout(TOKEN_TIMEOUT_S):
            text = await socket.receive_text()
        told: Any = json.loads(text) if len(text) <= MAX_TOKEN_MESSAGE else None
    except (TimeoutError, ValueError, KeyError, RecursionError):
        return None
    token = told.get("token") if isinstance(told, dict) else None
    return token if isinstance(token, str) else None


async def _both(socket: WebSocket, listener: Listener) -> None:
    """Send until the other side goes, or the listener ends. What the other side says is not listened to."""
    tasks = [asyncio.create_task(_sent(socket, listener)), asyncio.create_task(_gone(socket))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _sent(socket: WebSocket, listener: Listener) -> None:
    async for beat in listener:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await socket.send_text(_said(beat))


def _said(beat: Beat) -> str:
    return beat.stats or _TROUBLE


async def _gone(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
