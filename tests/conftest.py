"""Fixtures for the flows: one real stack for the whole session, a funded wallet for each test."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.services import Stack, running_stack
from tests.support.wallets import Wallet, funded_wallet


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def wallet(stack: Stack) -> Wallet:
    return funded_wallet(stack.devnet)


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the broker."""
    with httpx.Client(base_url=stack.broker, timeout=90, trust_env=False) as client:
        yield client
