"""A devnet, stand-ins for the providers, and a wallet with money."""

import pytest

from tests.support.services import Stack
from tests.support.wallets import Wallet, funded_wallet
from tests.upstream.conftest import chain, upstreams

__all__ = ["chain", "upstreams", "wallet"]


@pytest.fixture
def wallet(chain: Stack) -> Wallet:
    """The executor's, with 100 test dollars."""
    return funded_wallet(chain.devnet)
