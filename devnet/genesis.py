"""Block 0: the dollar token, Multicall3 and the two keys of this installation.

A signature made for the devnet is valid on the real base-sepolia too: chain id, token address and EIP-712
domain are the same. Never fund a key that was used here on a real network.
"""

from dataclasses import dataclass

from eth.constants import ZERO_ADDRESS
from eth.typing import AccountDetails, HeaderParams
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import Address
from eth_utils.address import to_canonical_address
from eth_utils.crypto import keccak
from x402.mechanisms.evm.constants import MULTICALL3_ADDRESS

from devnet.abi import artifact
from devnet.store import ChainStore
from shared.networks import Network

FAUCET_SUPPLY_ATOMIC = 10**18
"""A trillion test dollars: ten thousand million visits to the faucet."""
NATIVE_WEI = 10**27

_FAUCET_KEY = b"galaksio:faucet-key"
_FACILITATOR_KEY = b"galaksio:facilitator-key"


@dataclass(frozen=True)
class Keys:
    """Made on the first start and kept in the state file. `repr` shows no key."""

    faucet: LocalAccount
    facilitator: LocalAccount


def load_or_create_keys(store: ChainStore) -> Keys:
    """The keys of this state file; new ones are pending until the genesis block is committed with them."""
    if _FAUCET_KEY not in store:
        store[_FAUCET_KEY] = bytes(Account.create().key)
        store[_FACILITATOR_KEY] = bytes(Account.create().key)
    return Keys(Account.from_key(store[_FAUCET_KEY]), Account.from_key(store[_FACILITATOR_KEY]))


def genesis_state(network: Network, keys: Keys) -> dict[Address, AccountDetails]:
    """py-evm's account table of block 0."""
    token = artifact("DevnetUSDC")
    faucet = to_canonical_address(keys.faucet.address)
    supply = {
        token.slots["totalSupply"]: FAUCET_SUPPLY_ATOMIC,
        _mapping_slot(faucet, token.slots["balanceOf"]): FAUCET_SUPPLY_ATOMIC,
    }
    return {
        to_canonical_address(network.asset): _account(nonce=1, code=token.code, storage=supply),
        to_canonical_address(MULTICALL3_ADDRESS): _account(nonce=1, code=artifact("Multicall3").code),
        faucet: _account(balance=NATIVE_WEI),
        to_canonical_address(keys.facilitator.address): _account(balance=NATIVE_WEI),
    }


def genesis_header(timestamp_s: int, gas_limit: int) -> dict[str, HeaderParams]:
    return {
        "difficulty": 0,
        "gas_limit": gas_limit,
        "timestamp": timestamp_s,
        "coinbase": ZERO_ADDRESS,
        "base_fee_per_gas": 0,
        "extra_data": b"galaksio devnet",
    }


def _account(
    *, balance: int = 0, nonce: int = 0, code: bytes = b"", storage: dict[int, int] | None = None
) -> AccountDetails:
    return {"balance": balance, "nonce": nonce, "code": code, "storage": storage or {}}


def _mapping_slot(key: bytes, slot: int) -> int:
    """Where Solidity keeps `mapping[key]` (Solidity docs, Layout of State Variables in Storage)."""
    return int.from_bytes(keccak(key.rjust(32, b"\0") + slot.to_bytes(32, "big")), "big")
