"""SQLite for many tasks: one thread writes, a few read, and what waits is committed together.

SQLite has one writer at a time, and a durable commit costs more than the statements in it. So all writing
goes to one thread, which takes everything that waits into one transaction (group commit), each piece of work
in a savepoint of its own: it is durable before anybody is told, and one that fails takes back only itself.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError

T = TypeVar("T")
BUSY_TIMEOUT_MS = 10_000
MAX_BATCH = 64
READERS = 4
_WRITING = {"galaksio_writes": True}
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_TIMEOUT_MS}", "foreign_keys=ON")


class SqliteFile:
    """One database file. `url` is `sqlite:///<path>`; nothing is opened before its first use."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        name = self._engine.url.database
        if not name or name == ":memory:":
            raise ValueError("a database in memory cannot be shared: name a file")
        self.path = Path(name)
        self._writer = _Writer(self._engine)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-read")

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, once it is committed. Raises what it or the commit raises."""
        order = _Order(work, asyncio.get_running_loop())
        self._writer.put(order)
        done: T = await order.done
        return done

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, in a reader's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def close(self) -> None:
        """End the threads; what was ordered before is still done."""
        await asyncio.to_thread(self._writer.stop)
        await asyncio.to_thread(self._readers.shutdown)
        self._engine.dispose()

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection:
            return work(connection)


class _Order:
    """A piece of work, and the future of whoever waits for it."""

    def __init__(self, work: Callable[[Connection], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.done: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None
        self.loop = loop

    def resolve(self) -> None:
        """In the loop's thread."""
        if self.done.done():
            return
        if self.error is None:
            self.done.set_result(self.result)
        else:
            self.done.set_exception(self.error)


class _Writer:
    """The thread that writes. It starts with the first order."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(**_WRITING)
        self._connection: Connection | None = None
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def put(self, order: _Order) -> None:
        with self._lock:
            if self._stopped:
                raise RuntimeError("the database is closed")
            if self._thread is None:
                # A daemon: a program that ends without `close` must not wait for orders that never come.
                self._thread = threading.Thread(target=self._run, name="sqlite-write", daemon=True)
                self._thread.start()
            self._orders.put(order)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._orders.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        """Until `None` comes, which is the last thing that does."""
        while (first := self._orders.get()) is not None:
            batch = [first]
            with contextlib.suppress(Empty):
                while len(batch) < MAX_BATCH:
                    order = self._orders.get_nowait()
                    if order is None:
                        self._orders.put(None)
                        break
                    batch.append(order)
            self._write(batch)
        self._disconnect()

    def _write(self, batch: list[_Order]) -> None:
        try:
            connection = self._connection = self._connection or self._engine.connect()
            with connection.begin():
                for order in batch:
                    _attempt(connection, order)
        except BaseException as exc:
            for order in batch:
                order.error = order.error or exc  # nothing of this batch was committed
            self._disconnect()
        _tell(batch)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _tell(batch: list[_Order]) -> None:
    """Wake the callers up, one loop at a time; a loop that is closed has nobody left who waits."""
    for loop in {order.loop for order in batch}:
        mine = [order for order in batch if order.loop is loop]
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, mine)


def _resolve(orders: list[_Order]) -> None:
    for order in orders:
        order.resolve()


def _attempt(connection: Connection, order: _Order) -> None:
    """Do `order`, or undo just that. Raises only when the whole transaction is lost."""
    if order.done.cancelled():
        return
    _say(connection, "SAVEPOINT work")
    try:
        order.result = order.work(connection)
    except BaseException as exc:
        order.error = exc
        _say(connection, "ROLLBACK TO work")
    _say(connection, "RELEASE work")


def _say(connection: Connection, statement: str) -> None:
    """Straight to the driver: SQLAlchemy's way costs more than all else about a savepoint."""
    driver: Any = connection.connection.dbapi_connection
    try:
        driver.execute(statement)
    except sqlite3.Error as exc:
        raise OperationalError(statement, None, exc) from exc


def _engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().keys() >= _WRITING.keys()
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
