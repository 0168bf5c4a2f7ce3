"""A real database and a hand-moved clock for the broker's parts."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.payments.authorization import Authorization
from broker.payments.ledger import Ledger
from broker.payments.offers import OfferBook
from broker.payments.terms import Terms
from shared.database import Database, database_url
from shared.networks import Network, network_named
from tests.support.postgres import Databases

HOST = "0x00000000000000000000000000000000000A11cE"


@dataclass
class FakeClock:
    """Unix seconds, moved by hand."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def network() -> Network:
    return network_named("base-sepolia")


@pytest.fixture
def terms(network: Network) -> Terms:
    return Terms(network, HOST)


async def migrate(url: str) -> None:
    """Make the broker's tables."""
    database = Database(url)
    await database.migrate("broker:migrations", "broker_version")
    await database.close()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the broker's tables, to be copied: making them takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "broker.sqlite"
    asyncio.run(migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def migrated_postgres(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same, the address of a Postgres database."""
    url = databases.new()
    asyncio.run(migrate(database_url(url, tmp_path_factory.getbasetemp())))
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of the test's own, with the broker's tables."""
    if request.param == "sqlite":
        file = shutil.copy(request.getfixturevalue("migrated_file"), tmp_path)
        yield f"sqlite:///{file}"
        return
    databases: Databases = request.getfixturevalue("databases")
    url = databases.new(like=request.getfixturevalue("migrated_postgres"))
    yield database_url(url, tmp_path)
    databases.drop(url)


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    """Every test of the ledger runs over both."""
    database = Database(migrated_url)
    yield database
    await database.close()


@pytest.fixture
def offers(database: Database, clock: FakeClock) -> OfferBook:
    return OfferBook(database, clock, ttl_s=300)


@pytest.fixture
def ledger(database: Database, network: Network, clock: FakeClock) -> Ledger:
    return Ledger(database, network, clock)


def signed_authorization(payload: dict[str, Any]) -> Authorization:
    """A payload of `Wallet.payload` as the broker reads it."""
    fields = payload["authorization"]
    return Authorization(
        payer=fields["from"].lower(),
        pay_to=fields["to"].lower(),
        value=int(fields["value"]),
        valid_after=int(fields["validAfter"]),
        valid_before=int(fields["validBefore"]),
        nonce=fields["nonce"],
        signature=payload["signature"],
    )
