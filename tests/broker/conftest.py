"""A real database and a hand-moved clock for the broker's parts."""

from collections.abc import AsyncIterator
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


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """Every test of the ledger runs over both."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'broker.sqlite'}"
    else:
        url = database_url(request.getfixturevalue("postgres_url"), tmp_path)
    database = Database(url)
    await database.migrate("broker:migrations", "broker_version")
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
