"""One beat for all listeners: computed once, bounded, and slow ones are let go."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from broker.dashboard import beats as beats_module
from broker.dashboard import streams
from broker.dashboard.beats import MAX_LISTENERS, MAX_WAITING, Beat, Beats, TooManyListeners
from broker.dashboard.opening import Dashboard
from broker.dashboard.schemas import JobLine
from broker.dashboard.snapshots import Snapshot, Snapshots
from broker.dashboard.streams import Events
from shared.clock import iso_now
from tests.broker.shop import open_shop

OPERATOR = "an-operators-long-token"


class Counted(Snapshots):
    """The real numbers of a broker, counting how often they were asked for; `fail` makes them fail."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._real = snapshots
        self.asked = 0
        self.fail = False
        self.jobs: list[JobLine] = []

    async def latest(self) -> Snapshot:
        self.asked += 1
        if self.fail:
            raise OSError("the database is gone")
        stats = (await self._real.latest()).stats.model_copy(
            update={"at": iso_now(), "jobs": list(self.jobs)}
        )
        return Snapshot(stats, stats.model_dump_json())


@asynccontextmanager
async def beating(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Beats, Counted]]:
    """Beats that are faster than a second."""
    monkeypatch.setattr(beats_module, "BEAT_S", 0.02)
    monkeypatch.setattr(beats_module, "LEAST_PAUSE_S", 0.0)
    async with open_shop(home, OPERATOR_TOKEN=OPERATOR) as shop:
        dashboard: Dashboard = shop.app.state.dashboard
        counted = Counted(dashboard.snapshots)
        beats = Beats(counted)
        task = asyncio.create_task(beats.run())
        yield beats, counted
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def take(listener: Any, number: int) -> list[Beat]:
    found: list[Beat] = []
    async for beat in listener:
        found.append(beat)
        if len(found) == number:
            break
    return found


def line(job_id: str, status: str) -> JobLine:
    return JobLine(
        id=job_id,
        operation="run",
        provider="local",
        status=status,
        label=None,
        error=None,
        priceUsd=None,
        paymentState=None,
        createdAt=iso_now(),
    )


async def test_all_listeners_get_the_same_numbers_computed_once_and_nothing_is_computed_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with beating(tmp_path, monkeypatch) as (beats, counted):
        await asyncio.sleep(0.1)
        assert counted.asked == 0
        with ExitStack() as stack:
            listeners = [stack.enter_context(beats.listening()) for _ in range(MAX_LISTENERS)]
            with pytest.raises(TooManyListeners), beats.listening():
                pass
            got = await asyncio.gather(*(take(listener, 3) for listener in listeners))
            assert counted.asked <= 5
            assert all(one == got[0] for one in got)
        await asyncio.sleep(0.1)
        asked = counted.asked
        await asyncio.sleep(0.1)
        assert counted.asked == asked
        with beats.listening() as again:
            assert len(await take(again, 1)) == 1


async def test_the_same_numbers_are_not_told_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy loop's timers come early: before there are new ones."""
    monkeypatch.setattr(beats_module, "SOON_S", 0.01)
    async with beating(tmp_path, monkeypatch) as (beats, counted):
        told: list[Snapshot] = []

        async def each_twice() -> Snapshot:
            if counted.asked % 2 == 0:
                told.append(await Counted.latest(counted))
            else:
                counted.asked += 1
            return told[-1]

        monkeypatch.setattr(counted, "latest", each_twice)
        with beats.listening() as listener:
            got = [beat.stats for beat in await take(listener, 4)]
    assert got == [snapshot.text for snapshot in told[:4]]


async def test_a_job_that_is_new_or_changed_is_told_once_and_old_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with beating(tmp_path, monkeypatch) as (beats, counted):
        old, first = line("old", "completed"), line("new", "running")
        counted.jobs = [old]
        with beats.listening() as listener:
            await take(listener, 1)
            told: list[JobLine] = []
            for now in (first, first.model_copy(update={"status": "completed"})):
                counted.jobs = [now, old]
                for beat in await take(listener, 4):
                    told += [JobLine.model_validate(json.loads(job)) for job in beat.jobs]
        assert [(job.id, job.status) for job in told] == [("new", "running"), ("new", "completed")]


async def test_a_listener_that_does_not_take_its_beats_is_let_go_and_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with beating(tmp_path, monkeypatch) as (beats, _):
        with beats.listening() as slow, beats.listening() as quick:
            assert len(await take(quick, MAX_WAITING + 3)) == MAX_WAITING + 3
            assert await take(slow, 1) == []


async def test_numbers_that_cannot_be_had_are_said_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with beating(tmp_path, monkeypatch) as (beats, counted):
        counted.fail = True
        with beats.listening() as listener:
            assert [beat.stats for beat in await take(listener, 2)] == [None, None]
            counted.fail = False
            assert (await take(listener, 3))[-1].stats is not None


async def test_a_reader_that_stops_reading_gives_its_place_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SEND_TIMEOUT_S", 0.1)
    async with beating(tmp_path, monkeypatch) as (beats, _):
        places = [beats.listening() for _ in range(MAX_LISTENERS - 1)]
        with ExitStack() as stack:
            for place in places:
                stack.enter_context(place)
            response = Events(beats)
            with pytest.raises(TooManyListeners):
                Events(beats)
            sent: list[Message] = []

            async def send(message: Message) -> None:
                sent.append(message)
                if message["type"] == "http.response.body":
                    await asyncio.Event().wait()

            async def receive() -> Message:
                await asyncio.Event().wait()
                raise AssertionError("unreachable")

            async with asyncio.timeout(20):
                await response({"type": "http", "method": "GET", "headers": []}, receive, send)
            assert sent[0]["status"] == 200
            with beats.listening():
                pass
