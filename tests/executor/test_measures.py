"""How providers did lately: what counts, that it lasts, and that executors tell each other."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from executor.main import create_app
from executor.measures import KEPT, UNWRITTEN_MAX, Measured, Measures, Outcome, OutcomeRow
from executor.measures import is_failure_of_provider as is_failure
from executor.providers.remote import NotOffered
from executor.results import Base, open_database
from executor.settings import ExecutorSettings
from executor.upstream.errors import UpstreamRefused
from shared.database import Database
from shared.errors import BadRequest, Conflict, Unavailable
from shared.settings import load_settings

LOCAL = ("compute", "local")
OTHER = ("storage", "pinata")


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = open_database(url, tmp_path)
    await made.create(Base.metadata)
    await made.write(lambda connection: connection.execute(OutcomeRow.__table__.delete()))
    yield made
    await made.close()


def note(measures: Measures, whose: tuple[str, str], done: int, failed: int = 0, ms: int = 10) -> None:
    for _ in range(done):
        measures.note(whose, Outcome(True, ms))
    for _ in range(failed):
        measures.note(whose, Outcome(False, 9_999))


async def test_the_rate_and_the_median_of_those_that_were_done(database: Database) -> None:
    measures = Measures(database)
    assert measures.of(LOCAL) == Measured(None, None)
    note(measures, LOCAL, 0, failed=1)
    assert measures.of(LOCAL) == Measured(0.0, None)
    note(measures, LOCAL, 1, ms=100)
    note(measures, LOCAL, 1, ms=500)
    note(measures, LOCAL, 1, ms=300)
    assert measures.of(LOCAL) == Measured(0.75, 300)
    assert measures.of(OTHER) == Measured()


async def test_it_lasts_and_others_are_told(database: Database) -> None:
    first, second = Measures(database), Measures(database)
    note(first, LOCAL, 3, failed=1)
    note(second, LOCAL, 4)
    note(second, OTHER, 1)
    await first.exchange()
    await second.exchange()
    await first.exchange()
    for measures in (first, second):
        assert measures.of(LOCAL) == Measured(0.875, 10)
        assert measures.of(OTHER) == Measured(1.0, 10)
    late = Measures(database)
    await late.open()
    assert late.of(LOCAL) == Measured(0.875, 10)
    note(late, LOCAL, 0, failed=8)
    await late.close()
    await first.exchange()
    assert first.of(LOCAL) == Measured(round(7 / 16, 3), 10)


async def test_only_the_last_ones_count_and_are_kept(database: Database) -> None:
    measures = Measures(database)
    note(measures, OTHER, 2)
    for _ in range(3):
        note(measures, LOCAL, 0, failed=KEPT)
        await measures.exchange()
    note(measures, LOCAL, 10)
    assert measures.of(LOCAL) == Measured(0.2, 10)
    await measures.exchange()
    assert measures.of(LOCAL) == Measured(0.2, 10)
    assert measures.of(OTHER) == Measured(1.0, 10)
    rows = await database.read(lambda connection: connection.execute(OutcomeRow.__table__.select()).all())
    assert len(rows) == KEPT + 2


async def test_what_cannot_be_written_is_written_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures = Measures(database)
    note(measures, LOCAL, UNWRITTEN_MAX + 7, ms=1)

    async def away(_: Any) -> None:
        raise OperationalError("no", None, Exception())

    with monkeypatch.context() as broken:
        broken.setattr(database, "write", away)
        with pytest.raises(OperationalError):
            await measures.exchange()
    note(measures, LOCAL, 50, ms=9)
    assert measures.of(LOCAL) == Measured(1.0, 1)  # full: what came since is not noted
    await measures.exchange()
    note(measures, LOCAL, 50, ms=9)
    assert measures.of(LOCAL) == Measured(1.0, 9)


def test_what_speaks_against_a_provider() -> None:
    assert all(map(is_failure, (UpstreamRefused("no"), Unavailable("full"), ValueError("a bug"))))
    assert not any(map(is_failure, (BadRequest("no"), Conflict("no"), NotOffered("no"))))


async def test_providers_are_shown_with_what_was_measured(tmp_path: Path) -> None:
    env = {"GALAKSIO_HOME": str(tmp_path), "SANDBOX": "off", "EXECUTOR_POOL": "0"}
    for expected in (None, 1.0):
        app = create_app(load_settings(ExecutorSettings, env))
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://t") as http,
        ):
            assert (await row(http))["successRate"] == expected
            task = {"jobId": f"job-{expected}", "taskType": "store", "provider": "local"}
            bad = await http.post("/execute", json={**task, "data": "?", "encoding": "base64"})
            done = await http.post("/execute", json={**task, "data": "hello"})
            again = await http.post("/execute", json={**task, "data": "hello"})
            assert [answer.status_code for answer in (bad, done, again)] == [400, 200, 200]
            told = await row(http)
            assert told["successRate"] == 1.0 and 0 <= told["typicalMs"] < 10_000


async def row(http: httpx.AsyncClient) -> dict[str, Any]:
    """What `GET /providers` says of the embedded store."""
    rows = (await http.get("/providers")).json()["providers"]
    found: dict[str, Any] = next(row for row in rows if (row["kind"], row["name"]) == ("storage", "local"))
    return found
