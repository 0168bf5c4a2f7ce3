"""SQLite under many tasks: durable, committed together, and one that fails takes back only itself."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError, OperationalError

from shared.sqlite import SqliteFile


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[SqliteFile]:
    file = SqliteFile(f"sqlite:///{tmp_path / 'test.sqlite'}")
    await file.write(lambda connection: connection.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)")))
    yield file
    await file.close()


def insert(connection: Connection, number: int) -> None:
    connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": number})


def numbers(connection: Connection) -> list[int]:
    return list(connection.execute(text("SELECT n FROM t ORDER BY n")).scalars())


class Blocked:
    """Keeps the writer's thread busy in the block, so that what is ordered meanwhile waits together."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._go = threading.Event()

    async def __aenter__(self) -> None:
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wait(_: Connection) -> None:
            loop.call_soon_threadsafe(begun.set)
            self._go.wait(10)

        self._task = asyncio.create_task(self._file.write(wait))
        await begun.wait()

    async def __aexit__(self, *_: object) -> None:
        self._go.set()
        await self._task


async def test_what_waits_is_committed_together_and_is_durable_before_anybody_is_told(
    file: SqliteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = []
    real = Connection._commit_impl
    monkeypatch.setattr(Connection, "_commit_impl", lambda self: (commits.append(1), real(self)))

    async def insert_and_look(number: int) -> bool:
        await file.write(lambda connection: insert(connection, number))
        with sqlite3.connect(tmp_path / "test.sqlite") as other:
            found = other.execute("SELECT count(*) FROM t WHERE n = ?", (number,)).fetchone()
        other.close()
        return bool(found[0])

    async with Blocked(file):
        commits.clear()
        waiting = [asyncio.create_task(insert_and_look(n)) for n in range(20)]
        await asyncio.sleep(0.05)
    assert all(await asyncio.gather(*waiting))
    assert len(commits) == 2, "one for what blocked, one for the twenty"


async def test_one_that_fails_takes_back_only_itself(file: SqliteFile) -> None:
    def insert_two(connection: Connection, number: int) -> None:
        insert(connection, number + 100)
        insert(connection, number % 4)  # the second to use it fails

    async with Blocked(file):
        waiting = asyncio.gather(
            *(file.write(lambda c, n=n: insert_two(c, n)) for n in range(6)), return_exceptions=True
        )
        await asyncio.sleep(0.05)
    ends = await waiting
    assert [isinstance(end, IntegrityError) for end in ends] == [False] * 4 + [True] * 2
    assert await file.read(numbers) == [0, 1, 2, 3, 100, 101, 102, 103]


async def test_when_the_commit_fails_nobody_is_told_that_it_was_done(
    file: SqliteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Connection) -> None:
        raise OperationalError("COMMIT", None, sqlite3.OperationalError("database or disk is full"))

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "_commit_impl", full)
        ends = await asyncio.gather(
            *(file.write(lambda c, n=n: insert(c, n)) for n in range(3)), return_exceptions=True
        )
    assert all(isinstance(end, OperationalError) for end in ends)
    assert await file.read(numbers) == []
    await file.write(lambda connection: insert(connection, 1))
    assert await file.read(numbers) == [1]


async def test_what_was_cancelled_before_its_turn_is_not_done(file: SqliteFile) -> None:
    async with Blocked(file):
        waiting = asyncio.create_task(file.write(lambda connection: insert(connection, 1)))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait([waiting])
    await file.write(lambda connection: insert(connection, 2))
    assert await file.read(numbers) == [2]


async def test_what_was_ordered_before_the_end_is_done_and_later_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'test.sqlite'}"
    file = SqliteFile(url)
    await file.write(lambda connection: connection.execute(text("CREATE TABLE t (n INTEGER)")))
    waiting = [asyncio.create_task(file.write(lambda c, n=n: insert(c, n))) for n in range(5)]
    await asyncio.sleep(0)
    await file.close()
    await asyncio.gather(*waiting)
    with pytest.raises(RuntimeError, match="closed"):
        await file.write(lambda connection: insert(connection, 9))
    again = SqliteFile(url)
    assert await again.read(numbers) == [0, 1, 2, 3, 4]
    await again.close()


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="file"):
        SqliteFile("sqlite:///:memory:")
