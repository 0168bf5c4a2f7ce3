"""One async database per service: SQLite by default, Postgres by `DATABASE_URL`, migrated on start."""

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.errors import StartupError

BUSY_TIMEOUT_MS = 10_000
_MIGRATION_LOCK = 0x67616C61
"""Key of the Postgres advisory lock that lets one process migrate at a time."""


def database_url(configured: str | None, default_file: Path) -> str:
    """An async SQLAlchemy URL. Accepts `sqlite…`, `postgres://`, `postgresql://`, `postgresql+asyncpg://`."""
    if not configured:
        return f"sqlite+aiosqlite:///{default_file}"
    scheme, separator, rest = configured.partition("://")
    drivers = {
        "sqlite": "sqlite+aiosqlite",
        "sqlite+aiosqlite": "sqlite+aiosqlite",
        "postgres": "postgresql+asyncpg",
        "postgresql": "postgresql+asyncpg",
        "postgresql+asyncpg": "postgresql+asyncpg",
    }
    if not separator or scheme not in drivers:
        raise StartupError("DATABASE_URL must begin with sqlite:, postgres: or postgresql:.")
    return f"{drivers[scheme]}://{rest}"


class Database:
    """A connection pool with one rule: on SQLite a process writes one transaction at a time.

    (Otherwise its own connections would wait on each other's file lock, by polling.)
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self._write_lock = asyncio.Lock()
        self.engine: AsyncEngine = create_async_engine(url, pool_pre_ping=not self.is_sqlite)
        if self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _sqlite_pragmas)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is durable when the block ends, or rolled back when it raises."""
        async with AsyncExitStack() as stack:
            if self.is_sqlite:
                await stack.enter_async_context(self._write_lock)
            yield await stack.enter_async_context(self.engine.begin())

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        async with self.engine.connect() as connection:
            yield connection

    async def migrate(self, script_location: str, version_table: str) -> None:
        """Bring the tables up to date, one process at a time. Raises `StartupError` if it cannot."""
        try:
            if self.is_sqlite:
                await self._migrate_sqlite(script_location, version_table)
            else:
                async with self.engine.begin() as connection:
                    await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
                    await connection.run_sync(_upgrade, script_location, version_table)
        except (SQLAlchemyError, OSError) as exc:
            reason = str(exc).splitlines()[0]
            raise StartupError(f"The database cannot be opened or migrated: {reason}.") from exc

    async def _migrate_sqlite(self, script_location: str, version_table: str) -> None:
        file = self.engine.url.database
        async with AsyncExitStack() as stack:
            if file and file != ":memory:":
                await stack.enter_async_context(_file_lock(Path(f"{file}.lock")))
            async with self.engine.begin() as connection:
                await connection.run_sync(_upgrade, script_location, version_table)
        if file and file != ":memory:":
            await asyncio.to_thread(Path(file).chmod, 0o600)

    async def close(self) -> None:
        await self.engine.dispose()


def _sqlite_pragmas(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


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
