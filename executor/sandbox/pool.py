"""Sandboxes started ahead: each waits at its loader, gets one job, and is gone with it.

For every kind of run that is wanted `ahead` of them wait. One that is taken is replaced after the answer to
its run has gone out. When none waits, a run takes over one that is being started, or starts its own.
Everything here happens on the event loop; what blocks is `Starter`'s.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple, Protocol

from executor.sandbox.errors import SandboxFailed
from executor.sandbox.started import Started
from executor.sandbox.timers import Timers
from shared.jobs import DEFAULT_SIZE, Language, Size
from shared.logs import get_logger

log = get_logger(__name__)

REFILL_AFTER_S = 0.002
"""After the end of a run: its answer goes first."""
WARM_AFTER_S = 0.03
CALM_S = 0.1
"""After the last time that runs queued: what was full a moment ago is full again a moment later."""
LOOK_EVERY_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Before another start of a kind that failed to start, or died waiting; doubled each time."""


class Load(Enum):
    """How busy the executor is: no run, some, or more than there are slots.

    Then those that wait are set up by themselves (`ahead`), which costs less in all than a pool.
    """

    NONE = auto()
    SOME = auto()
    FULL = auto()


class Kind(NamedTuple):
    """What a waiting sandbox can be used for."""

    language: Language
    size: Size


class Starter(Protocol):
    async def start(self, kind: Kind) -> Started:
        """A sandbox that waits for its job. Raises `SandboxFailed`."""

    async def retire(self, started: Started) -> None:
        """End a sandbox that was not used."""


@dataclass
class Shelf:
    """The sandboxes of one kind."""

    waiting: deque[Started] = field(default_factory=deque)
    starting: set[asyncio.Task[None]] = field(default_factory=set)
    claims: deque[asyncio.Future[Started | None]] = field(default_factory=deque)
    used_s: float = 0.0
    pause_s: float = 0.0
    not_before_s: float = 0.0


class Pool:
    """`open`, `take` and `refill`, `close`."""

    def __init__(
        self, starter: Starter, ahead: int, recycle_s: float, at_once: int, load: Callable[[], Load]
    ) -> None:
        self._starter = starter
        self._ahead = ahead
        self._recycle_s = recycle_s
        self._at_once = at_once
        self._load = load
        self._shelves: dict[Kind, Shelf] = {}
        self._timers = Timers()
        self._retiring: set[asyncio.Task[None]] = set()
        self._closed = False
        self._calm_from_s = 0.0

    @property
    def waiting(self) -> dict[Kind, list[Started]]:
        return {kind: list(shelf.waiting) for kind, shelf in self._shelves.items()}

    @property
    def ready(self) -> dict[str, int]:
        """How many wait, by language."""
        counts: Counter[str] = Counter()
        for kind, shelf in self._shelves.items():
            counts[kind.language] += len(shelf.waiting)
        return dict(counts)

    @property
    def settled(self) -> bool:
        """Whether all that is wanted waits, with nothing left to prepare."""
        return all(
            not shelf.starting and not self._missing(kind, shelf) and not any(map(_cold, shelf.waiting))
            for kind, shelf in self._shelves.items()
        )

    def open(self, languages: Iterable[Language]) -> None:
        for language in languages:
            self._shelves[Kind(language, DEFAULT_SIZE)] = Shelf()
        self._fill()
        self._look()

    async def close(self) -> None:
        """End all that wait; no more are started."""
        self._closed = True
        self._timers.close()
        for shelf in self._shelves.values():
            if shelf.starting:
                await asyncio.wait(shelf.starting)
            while shelf.waiting:
                self._retire(shelf, shelf.waiting[0])
        if self._retiring:
            await asyncio.wait(self._retiring)

    async def take(self, kind: Kind) -> Started | None:
        """A sandbox for one run, now the caller's; None when there is none to be had soon."""
        if self._closed:
            return None
        shelf = self._shelves.setdefault(kind, Shelf())
        shelf.used_s = _now()
        for started in sorted(shelf.waiting, key=_cold):
            if started.running.alive:
                self._remove(shelf, started)
                return started
            self._died(kind, shelf, started)
        if len(shelf.starting) <= len(shelf.claims):
            return None
        claim: asyncio.Future[Started | None] = asyncio.get_running_loop().create_future()
        shelf.claims.append(claim)
        try:
            return await claim
        except asyncio.CancelledError:
            if claim.done() and not claim.cancelled() and (late := claim.result()):
                self._put(kind, shelf, late)
            raise
        finally:
            with contextlib.suppress(ValueError):
                shelf.claims.remove(claim)

    def refill(self) -> None:
        """Replace what was taken, once the answer has gone out."""
        self._timers.later(REFILL_AFTER_S, self._fill)

    def _fill(self) -> None:
        if self._load() is Load.FULL:
            self._calm_from_s = _now() + CALM_S
        if _now() < self._calm_from_s:
            self._timers.later(CALM_S, self._fill)
            return
        at_once = sum(len(shelf.starting) for shelf in self._shelves.values())
        for kind, shelf in self._shelves.items():
            for _ in range(min(self._missing(kind, shelf), self._at_once - at_once)):
                task = asyncio.create_task(self._start(kind, shelf), name=f"pool {kind.language}")
                shelf.starting.add(task)
                task.add_done_callback(shelf.starting.discard)
                task.add_done_callback(lambda _: self._timers.later(0, self._fill))
                at_once += 1
        self._timers.later(WARM_AFTER_S, self._warm)

    def _missing(self, kind: Kind, shelf: Shelf) -> int:
        """How many to start now. Sizes other than the usual are kept while they are in use."""
        unused = kind.size != DEFAULT_SIZE and _now() - shelf.used_s > self._recycle_s
        if self._closed or unused or _now() < shelf.not_before_s:
            return 0
        return max(0, self._ahead - len(shelf.waiting) - len(shelf.starting) + len(shelf.claims))

    async def _start(self, kind: Kind, shelf: Shelf) -> None:
        try:
            started = await self._starter.start(kind)
        except SandboxFailed as exc:
            log.warning("pool_start_failed", language=kind.language, reason=exc.message)
            self._pause(shelf)
            if claim := _next(shelf.claims):
                claim.set_result(None)
            return
        if claim := _next(shelf.claims):
            claim.set_result(started)
        else:
            self._put(kind, shelf, started)

    def _put(self, kind: Kind, shelf: Shelf, started: Started) -> None:
        shelf.waiting.append(started)
        fd = started.running.monitor_pidfd
        asyncio.get_running_loop().add_reader(fd, self._died, kind, shelf, started)
        if self._closed:
            self._retire(shelf, started)

    def _died(self, kind: Kind, shelf: Shelf, started: Started) -> None:
        log.warning("pooled_sandbox_died", language=kind.language)
        self._pause(shelf)
        self._retire(shelf, started)

    def _pause(self, shelf: Shelf) -> None:
        shelf.pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * shelf.pause_s))
        shelf.not_before_s = _now() + shelf.pause_s
        self._timers.later(shelf.pause_s, self._fill)

    def _remove(self, shelf: Shelf, started: Started) -> None:
        asyncio.get_running_loop().remove_reader(started.running.monitor_pidfd)
        shelf.waiting.remove(started)

    def _retire(self, shelf: Shelf, started: Started) -> None:
        self._remove(shelf, started)
        task = asyncio.create_task(self._starter.retire(started))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _look(self) -> None:
        """Recycle those that have waited long, and all of a size that is no longer asked for."""
        for kind, shelf in self._shelves.items():
            unused = kind.size != DEFAULT_SIZE and _now() - shelf.used_s > self._recycle_s
            for started in list(shelf.waiting):
                if unused or _now() - started.running.started_s > self._recycle_s:
                    self._retire(shelf, started)
            if shelf.waiting and _now() > shelf.not_before_s + LONGEST_PAUSE_S:
                shelf.pause_s = 0.0
        self._fill()
        self._timers.later(min(LOOK_EVERY_S, self._recycle_s / 4), self._look)

    def _warm(self) -> None:
        """Let one interpreter after the other import ahead, while there is nothing else to do."""
        cold = [started for shelf in self._shelves.values() for started in shelf.waiting if _cold(started)]
        if not cold:
            return
        if self._load() is Load.NONE and not any(shelf.starting for shelf in self._shelves.values()):
            cold[0].warm = True
            with contextlib.suppress(OSError):  # it died; that is noticed elsewhere
                os.write(cold[0].running.job, b"p")
        self._timers.later(WARM_AFTER_S, self._warm)


def _now() -> float:
    return time.monotonic()


def _cold(started: Started) -> bool:
    return started.warms and not started.warm


def _next(claims: deque[asyncio.Future[Started | None]]) -> asyncio.Future[Started | None] | None:
    while claims:
        if not (claim := claims.popleft()).done():
            return claim
    return None
