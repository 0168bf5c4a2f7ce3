"""Which dollars are worth something."""

import pytest
from x402.mechanisms.evm.default_assets import DEFAULT_ASSETS

from shared.networks import money_of


@pytest.mark.parametrize("network", ["base", "eip155:8453", "polygon", "eip155:42161", "megaeth"])
def test_money_of_a_main_network_is_real(network: str) -> None:
    assert money_of(network) == "real"


@pytest.mark.parametrize("network", ["base-sepolia", "eip155:84532", "monad-testnet", "eip155:421614"])
def test_money_of_a_test_network_is_test_money(network: str) -> None:
    assert money_of(network) == "test"


@pytest.mark.parametrize("network", ["", "eip155:", "eip155:08453", "8453", "polygon-amoy", "solana:x"])
def test_nobody_here_knows_what_other_money_is_worth(network: str) -> None:
    assert money_of(network) is None


def test_every_network_with_a_dollar_token_is_known_to_be_one_or_the_other() -> None:
    assert [network for network in DEFAULT_ASSETS if money_of(network) is None] == []
