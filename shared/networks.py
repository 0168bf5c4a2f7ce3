"""The networks payments are taken on, read from the x402 package's own tables (payments.md §1)."""

from dataclasses import dataclass
from typing import Literal

from x402.mechanisms.evm.default_assets import DEFAULT_ASSETS
from x402.mechanisms.evm.v1.constants import V1_NETWORK_CHAIN_IDS

from shared.errors import StartupError
from shared.money import USD_DECIMALS

PUBLIC_RPC = {"base": "https://mainnet.base.org", "base-sepolia": "https://sepolia.base.org"}
"""Where the chain can be read when the host names no node of its own."""

DEVNET = "galaksio-devnet"
"""How the local payment network calls itself: it has the chain id of base-sepolia, and is not it."""

Money = Literal["real", "test"]
_REAL_CHAINS = (
    *(1, 14, 50, 137, 143, 988, 1329, 4326, 5042, 8453, 31612, 36900, 38833, 42161, 42220, 43114),
    *(190415, 723487),
)
_TEST_CHAINS = (51, 1328, 2201, 10143, 31611, 72344, 84532, 181228, 421614, 5042002, 11142220)
_MONEY: dict[str, Money] = {
    **{f"eip155:{chain_id}": "real" for chain_id in _REAL_CHAINS},
    **{f"eip155:{chain_id}": "test" for chain_id in _TEST_CHAINS},
}
"""Of every chain in the package's table of dollar tokens, which does not tell it."""


@dataclass(frozen=True)
class Network:
    """A chain and its dollar token. `name` is the v1 spelling, `caip2` the v2 one."""

    name: str
    caip2: str
    chain_id: int
    asset: str
    domain_name: str
    domain_version: str

    def matches(self, text: str) -> bool:
        return text in {self.name, self.caip2}


def network_named(name: str) -> Network:
    """Look `name` (v1 spelling) up. Raises `StartupError` for one without a 6-decimal dollar token."""
    chain_id = V1_NETWORK_CHAIN_IDS.get(name)
    assets = DEFAULT_ASSETS.get(f"eip155:{chain_id}", [])
    if chain_id is None or not assets or assets[0]["decimals"] != USD_DECIMALS:
        known = ", ".join(
            sorted(
                n
                for n, c in V1_NETWORK_CHAIN_IDS.items()
                if DEFAULT_ASSETS.get(f"eip155:{c}", [{"decimals": 0}])[0]["decimals"] == USD_DECIMALS
            )
        )
        raise StartupError(
            f"X402_NETWORK={name} is not a network with a 6-decimal dollar token; known are {known}."
        )
    token = assets[0]
    return Network(
        name=name,
        caip2=f"eip155:{chain_id}",
        chain_id=chain_id,
        asset=token["asset"],
        domain_name=token["name"],
        domain_version=token["version"],
    )


def money_of(network: str) -> Money | None:
    """What a dollar on `network` (v1 name or CAIP-2) is worth; None where nobody here knows.

    Test money is given away by faucets: a price in it compares with no price in real money.
    """
    known = V1_NETWORK_CHAIN_IDS.get(network)
    return _MONEY.get(network if known is None else f"eip155:{known}")
