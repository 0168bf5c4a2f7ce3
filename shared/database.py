"""One database per service: SQLite by default, Postgres by `DATABASE_URL`, migrated on start.

A transaction is a plain function over a SQLAlchemy `Connection`. On Postgres it runs over asyncpg, on SQLite
in threads (`shared/sqlite.py`); the event loop waits for neither.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.requests import Request
from starlette.responses import Response

from shared.errors import GalaksioError, StartupError, error_response
from shared.logs import get_logger
from shared.sqlite import SqliteFile

log = get_logger(__name__)

T = TypeVar("T")
_MIGRATION_LOCK = 0x67616C61
"""Key of the Postgres advisory lock that lets one process migrate at a time."""


def database_url(configured: str | None, default_file: Path) -> str:
    """A SQLAlchemy URL. Accepts `sqlite…`, `postgres://`, `postgresql://`, `postgresql+asyncpg://`."""
    if not configured:
        return f"sqlite:///{default_file}"
    scheme, separator, rest = configured.partition("://")
    drivers = {
        "sqlite": "sqlite",
        "sqlite+aiosqlite": "sqlite",
        "postgres": "postgresql+asyncpg",
        "postgresql": "postgresql+asyncpg",
        "postgresql+asyncpg": "postgresql+asyncpg",
    }
    if not separator or scheme not in drivers:
        raise StartupError("DATABASE_URL must begin with sqlite:, postgres: or postgresql:.")
    return f"{drivers[scheme]}://{rest}"


class Database:
    """`read` and `write` run a function in one transaction. A URL as `database_url` makes it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self._store = SqliteFile(url) if self.is_sqlite else _Postgres(url)

    @property
    def backend(self) -> str:
        """`sqlite` or `postgresql`."""
        return "sqlite" if self.is_sqlite else "postgresql"

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, once it is durable; rolled back when it raises.

        `work` may run in another thread, and not again when the commit fails. A caller that is cancelled
        while it waits does not learn whether it was committed.
        """
        return await self._store.write(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns; it sees what was committed when it began."""
        return await self._store.read(work)

    async def ping(self) -> None:
        """Raises `SQLAlchemyError` or `OSError` when the database does not answer."""
        await self.read(lambda connection: connection.execute(text("SELECT 1")))

    async def migrate(self, script_location: str, version_table: str) -> None:
        """Bring the tables up to date, one process at a time. Raises `StartupError` if it cannot."""

        try:
            await self._alone(lambda connection: _upgrade(connection, script_location, version_table))
        except (SQLAlchemyError, OSError) as exc:
            reason = str(exc).splitlines()[0]
            raise StartupError(f"The database cannot be opened or migrated: {reason}.") from exc

    async def create(self, metadata: MetaData) -> None:
        """Make the tables that are missing, one process at a time. Raises `SQLAlchemyError` or `OSError`."""
        await self._alone(metadata.create_all)

    async def _alone(self, work: Callable[[Connection], Any]) -> None:
        def locked(connection: Connection) -> None:
            if not self.is_sqlite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            work(connection)

        async with AsyncExitStack() as stack:
            if self._file is not None:
                await stack.enter_async_context(_file_lock(Path(f"{self._file}.lock")))
                await asyncio.to_thread(_make_private, self._file)
            await self.write(locked)

    async def close(self) -> None:
        await self._store.close()

    @property
    def _file(self) -> Path | None:
        return self._store.path if isinstance(self._store, SqliteFile) else None


def _make_private(file: Path) -> None:
    """Nobody but the owner may read the file, nor what SQLite makes beside it: that is like the file."""
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    for one in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
        if one.exists():
            one.chmod(0o600)


class _Postgres:
    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(url, pool_pre_ping=True)

    async def write(self, work: Callable[[Connection], T]) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        async with self._engine.connect() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        await self._engine.dispose()


def answer_database_errors(app: FastAPI) -> None:
    """A database that is locked by a frozen process, or gone for a moment, is a 503 and no defect of ours.

    It says nothing about money: whether something was charged is told by the same request sent again.
    """

    async def unavailable(_: Request, exc: DBAPIError) -> Response:
        log.error("database_unavailable", error=type(exc.orig).__name__)
        return error_response(
            GalaksioError(
                "the database does not answer now; send the same request again, with the same payment",
                status=503,
                code="database_unavailable",
                retry_after_s=2,
            )
        )

    app.exception_handler(OperationalError)(unavailable)
    app.exception_handler(InterfaceError)(unavailable)


@asynccontextmanager
async def _file_lock(path: Path) -> AsyncIterator[None]:
    with path.open("w") as handle:
        await asyncio.to_thread(fcntl.flock, handle, fcntl.LOCK_EX)
        yield


def _upgrade(connection: Connection, script_location: str, version_table: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", script_location)
    config.attributes["connection"] = connection
    config.attributes["version_table"] = version_table
    command.upgrade(config, "head")


def run_migrations(metadata: Any) -> None:
    """The body of every `migrations/env.py`: migrate on the connection that `Database.migrate` gives."""
    from alembic import context

    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        version_table=context.config.attributes["version_table"],
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
