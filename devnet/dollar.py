"""The dollar token as the routes need it; all of it runs on the chain's thread."""

from typing import Any

from eth_utils.address import to_canonical_address

from devnet.abi import artifact, decode_result, encode_contract_call
from devnet.chain import DevnetChain
from devnet.evm import Call, Mined

FAUCET_ATOMIC = 100 * 10**6
_FAUCET_GAS = 100_000


def _read(chain: DevnetChain, function_name: str, *args: Any) -> Any:
    abi = artifact("DevnetUSDC").abi
    data = encode_contract_call(abi, function_name, *args)
    output = chain.call(Call(to=to_canonical_address(chain.network.asset), data=data))
    return decode_result(abi, function_name, output)


def balance_atomic(chain: DevnetChain, address: str) -> int:
    return int(_read(chain, "balanceOf", address))


def authorization_used(chain: DevnetChain, authorizer: str, nonce: bytes) -> bool:
    """True once the authorization was settled or canceled (EIP-3009 `authorizationState`)."""
    return bool(_read(chain, "authorizationState", authorizer, nonce))


def pay_out(chain: DevnetChain, address: str) -> tuple[Mined, int]:
    """Send `FAUCET_ATOMIC` from the faucet to `address`; returns the transaction and the new balance.

    Raises `TransactionRefused`, and `RuntimeError` when the faucet is empty.
    """
    data = encode_contract_call(artifact("DevnetUSDC").abi, "transfer", address, FAUCET_ATOMIC)
    mined = chain.send(chain.keys.faucet, chain.network.asset, data, _FAUCET_GAS)
    if not mined.succeeded:
        raise RuntimeError("the faucet's transfer was reverted: it is empty")
    return mined, balance_atomic(chain, address)
