"""The chain's database: one SQLite file, owned by one process, with a key-value table and the log index.

Writes gather in memory and reach the file in one transaction at `commit`, so the block, its receipts, the
state and the head pointer are there together or not at all, whatever kills the process.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

from eth.db.backends.base import BaseDB

from shared.errors import StartupError

_PRAGMAS = (
    # Held until the connection closes or the process dies: a second owner is refused, and WAL needs no
    # shared-memory file.
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    # A settlement that was answered is on the disk: a payer's ledger may already rely on it.
    "PRAGMA synchronous = FULL",
    "PRAGMA cache_size = -65536",
)


class ChainStore(BaseDB):
    """py-evm's `bytes -> bytes` database over SQLite, for one thread.

    Opening raises `StartupError` when another process owns the file or when it is not a database.
    """

    def __init__(self, path: Path) -> None:
        self._pending: dict[bytes, bytes | None] = {}
        self._statements: list[tuple[str, tuple[Any, ...]]] = []
        try:
            _create_private(path)
            self._sqlite = sqlite3.connect(path, timeout=0, isolation_level=None)
        except (OSError, sqlite3.Error) as exc:
            raise StartupError(f"The devnet state {path} cannot be opened: {exc}.") from None
        try:
            for pragma in _PRAGMAS:
                self._sqlite.execute(pragma)
            self._sqlite.execute("BEGIN EXCLUSIVE")
            self._sqlite.execute(
                "CREATE TABLE IF NOT EXISTS chain (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
            )
            self._sqlite.execute("COMMIT")
        except sqlite3.Error as exc:
            self._sqlite.close()
            raise StartupError(_refusal(path, exc)) from None

    def __getitem__(self, key: bytes) -> bytes:
        if key in self._pending:
            value = self._pending[key]
        else:
            row = self._sqlite.execute("SELECT value FROM chain WHERE key = ?", (key,)).fetchone()
            value = None if row is None else row[0]
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._pending[key] = value

    def __delitem__(self, key: bytes) -> None:
        if key not in self:
            raise KeyError(key)
        self._pending[key] = None

    def _exists(self, key: bytes) -> bool:
        if key in self._pending:
            return self._pending[key] is not None
        return self._sqlite.execute("SELECT 1 FROM chain WHERE key = ?", (key,)).fetchone() is not None

    def read(self, sql: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Rows of another table of the file, as of the last `commit`."""
        return self._sqlite.execute(sql, parameters).fetchall()

    def write_at_commit(self, sql: str, parameters: tuple[Any, ...] = ()) -> None:
        """Run a statement on another table of the file in the next `commit`'s transaction."""
        self._statements.append((sql, parameters))

    def commit(self) -> None:
        """Write everything since the last `commit` in one transaction. Raises `sqlite3.Error`; then nothing
        was written and the changes are dropped."""
        written = [(key, value) for key, value in self._pending.items() if value is not None]
        deleted = [(key,) for key, value in self._pending.items() if value is None]
        statements = self._statements
        self.rollback()
        self._sqlite.execute("BEGIN IMMEDIATE")
        try:
            self._sqlite.executemany("INSERT OR REPLACE INTO chain (key, value) VALUES (?, ?)", written)
            self._sqlite.executemany("DELETE FROM chain WHERE key = ?", deleted)
            for sql, parameters in statements:
                self._sqlite.execute(sql, parameters)
            self._sqlite.execute("COMMIT")
        except BaseException:
            if self._sqlite.in_transaction:
                self._sqlite.execute("ROLLBACK")
            raise

    def rollback(self) -> None:
        """Forget everything since the last `commit`."""
        self._pending.clear()
        self._statements = []

    def close(self) -> None:
        self._sqlite.close()


def _create_private(path: Path) -> None:
    """Create the file for this user only: it holds keys. SQLite gives its WAL the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        # By path, never through a descriptor: closing one drops SQLite's locks on the file (POSIX).
        path.chmod(0o600)


def _refusal(path: Path, error: sqlite3.Error) -> str:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return (
            f"Another devnet is running on {path}: stop it, or set GALAKSIO_HOME to another folder "
            "(and DEVNET_PORT to another port)."
        )
    return f"The devnet state {path} cannot be used ({error}): move the file away to start a new chain."
