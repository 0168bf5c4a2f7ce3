"""One broker for all attacks, a second one on the same ledger, and neighbours that do as they are told."""

from collections.abc import Iterator

import httpx
import pytest

from tests.attacks.world import World, running_world
from tests.support.wallets import Wallet, new_wallet


@pytest.fixture(scope="session")
def session_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("attacks"), brokers=2) as running:
        yield running


@pytest.fixture
def world(session_world: World) -> World:
    session_world.be_honest()
    return session_world


@pytest.fixture
def broker(world: World) -> Iterator[httpx.Client]:
    with world.client() as client:
        yield client


@pytest.fixture
def wallet() -> Wallet:
    """Rich, as far as the stand-in for the facilitator knows."""
    return new_wallet()
