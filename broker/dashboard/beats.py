"""One beat a second for everybody who listens; no work while nobody does.

A beat is the numbers, and the jobs that are new or have changed since the one before. Who does not take the
beats off in time is let go: the page comes back by itself.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from broker.dashboard.schemas import JobLine
from broker.dashboard.snapshots import FRESH_S, Snapshot, Snapshots
from shared.errors import Unavailable
from shared.logs import get_logger

log = get_logger(__name__)

BEAT_S = 1.0
LEAST_PAUSE_S = FRESH_S
"""However long the numbers took: so that each beat has new ones, and the database some rest."""
SOON_S = 0.1
"""Until the next try, where the numbers are still those of before: timers of a busy loop come early."""
MAX_LISTENERS = 50
MAX_WAITING = 5
"""Beats that a slow listener may be behind."""


class TooManyListeners(Unavailable):
    code = "too_many_listeners"

    def __init__(self) -> None:
        super().__init__(f"{MAX_LISTENERS} pages are listening already: close one", retry_after_s=10)


@dataclass(frozen=True)
class Beat:
    """`stats` is the JSON of all numbers, or None when they could not be had; `jobs` of single jobs."""

    stats: str | None
    jobs: tuple[str, ...] = ()


class Listener:
    """An async iterator over the beats from now on; it ends when the listener was too slow, or at the end."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Beat | None] = asyncio.Queue(MAX_WAITING)
        self._ended = False

    def put(self, beat: Beat) -> None:
        if self._ended:
            return
        try:
            self._waiting.put_nowait(beat)
        except asyncio.QueueFull:
            log.info("dashboard_listener_too_slow")
            self.end()

    def end(self) -> None:
        """Let go of what is waiting, too: it is old by now."""
        self._ended = True
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Beat]:
        while (beat := await self._waiting.get()) is not None:
            yield beat


class Beats:
    """`run` until cancelled; `listening` while a page is open."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._listeners: set[Listener] = set()
        self._somebody = asyncio.Event()
        self._before: Snapshot | None = None

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """Raises `TooManyListeners`."""
        if len(self._listeners) >= MAX_LISTENERS:
            raise TooManyListeners
        listener = Listener()
        self._listeners.add(listener)
        self._somebody.set()
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    async def run(self) -> None:
        try:
            while True:
                await self._somebody.wait()
                begun_s = time.monotonic()
                beat = await self._beat()
                pause_s = SOON_S
                if beat is not None:
                    for listener in list(self._listeners):
                        listener.put(beat)
                    pause_s = max(LEAST_PAUSE_S, BEAT_S - (time.monotonic() - begun_s))
                await asyncio.sleep(pause_s)
                if not self._listeners:
                    self._somebody.clear()
                    self._before = None
        finally:
            for listener in list(self._listeners):
                listener.end()

    async def _beat(self) -> Beat | None:
        """None where the numbers are those of the beat before."""
        try:
            snapshot = await self._snapshots.latest()
        except Exception:
            log.exception("dashboard_numbers_failed")
            return Beat(None)
        if snapshot is self._before:
            return None
        changed = () if self._before is None else _changed(self._before, snapshot)
        self._before = snapshot
        return Beat(snapshot.text, tuple(job.model_dump_json() for job in changed))


def _changed(before: Snapshot, now: Snapshot) -> tuple[JobLine, ...]:
    """Oldest first."""
    known = before.jobs
    return tuple(job for job in reversed(now.stats.jobs) if known.get(job.id) != job)
