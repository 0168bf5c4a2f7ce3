"""A database that does not answer is a 503 that says what to do, and nothing of its insides."""

import sqlite3
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Column, Connection, Integer, MetaData, Table, text

from shared import sqlite
from shared.database import Database, answer_database_errors


async def test_a_locked_database_is_a_503_and_works_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret-name.sqlite"
    monkeypatch.setattr(sqlite, "_PRAGMAS", ("journal_mode=WAL", "busy_timeout=50"))
    database = Database(f"sqlite:///{file}")
    await database.write(lambda connection: connection.execute(text("CREATE TABLE t (n INTEGER)")))
    app = FastAPI()
    answer_database_errors(app)

    def insert(connection: Connection) -> None:
        connection.execute(text("INSERT INTO t VALUES (1)"))

    @app.get("/")
    async def write() -> str:
        await database.write(insert)
        return "written"

    frozen = sqlite3.connect(file, isolation_level=None)
    frozen.execute("BEGIN IMMEDIATE")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        refused = await client.get("/")
        assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
        assert refused.headers["Retry-After"] == "2"
        assert "secret-name" not in refused.text
        frozen.execute("ROLLBACK")
        frozen.close()
        assert (await client.get("/")).json() == "written"
    count = text("SELECT count(*) FROM t")
    assert await database.read(lambda connection: connection.execute(count).scalar_one()) == 1
    await database.close()


async def test_nobody_else_can_read_a_database_in_a_folder_that_is_open_to_all(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    file = tmp_path / "ledger.sqlite"
    database = Database(f"sqlite:///{file}")
    tables = MetaData()
    Table("t", tables, Column("n", Integer))
    await database.create(tables)
    await database.write(lambda connection: connection.execute(text("INSERT INTO t VALUES (1)")))
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("ledger.sqlite*")}
    await database.close()
    assert {"ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"} <= modes.keys()
    assert {mode & 0o077 for name, mode in modes.items() if not name.endswith(".lock")} == {0}
