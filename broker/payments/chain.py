"""What the chain itself knows about an authorization: the last word on whether money moved (EIP-3009)."""

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from eth_typing import HexStr

from shared.errors import Unavailable
from shared.logs import get_logger
from shared.networks import DEVNET, Network

log = get_logger(__name__)

CALL_TIMEOUT_S = 10.0
VERSION_TIMEOUT_S = 0.5
BLOCK_TIME_S = 2
"""Base makes a block every two seconds: how far back an event can lie is reckoned from it."""
SLACK_BLOCKS = 5_000

_ADDRESS = {"type": "address", "name": "authorizer", "indexed": True}
_NONCE = {"type": "bytes32", "name": "nonce", "indexed": True}
ABI: list[dict[str, Any]] = [
    {
        "type": "function",
        "name": "authorizationState",
        "stateMutability": "view",
        "inputs": [{"type": "address", "name": "authorizer"}, {"type": "bytes32", "name": "nonce"}],
        "outputs": [{"type": "bool", "name": ""}],
    },
    {"type": "event", "name": "AuthorizationUsed", "anonymous": False, "inputs": [_ADDRESS, _NONCE]},
    {"type": "event", "name": "AuthorizationCanceled", "anonymous": False, "inputs": [_ADDRESS, _NONCE]},
    {
        "type": "event",
        "name": "Transfer",
        "anonymous": False,
        "inputs": [
            {"type": "address", "name": "from", "indexed": True},
            {"type": "address", "name": "to", "indexed": True},
            {"type": "uint256", "name": "value", "indexed": False},
        ],
    },
]


@dataclass(frozen=True)
class OnChain:
    """`unused`; `used`, with the transaction when it was found; or `cancelled` by the payer."""

    state: Literal["unused", "used", "cancelled"]
    transaction_hash: str | None = None


@dataclass(frozen=True)
class Head:
    """The latest block: its time in Unix seconds, and of which chain it is.

    `devnet`: whether the node is the local payment network's; None where it does not say what it is.
    """

    chain_id: int
    time_s: int
    devnet: bool | None = None


class Chain:
    """Reads the token contract over JSON-RPC at `rpc_url`."""

    def __init__(self, rpc_url: str, network: Network) -> None:
        from web3 import AsyncHTTPProvider, AsyncWeb3

        self._web3 = AsyncWeb3(AsyncHTTPProvider(rpc_url))
        self._token = self._web3.eth.contract(address=AsyncWeb3.to_checksum_address(network.asset), abi=ABI)
        self._checksum = AsyncWeb3.to_checksum_address

    async def close(self) -> None:
        await self._web3.provider.disconnect()

    async def head(self) -> Head | None:
        """None when nobody answers."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                latest = await self._web3.eth.get_block("latest")
                chain_id = await self._web3.eth.chain_id
                return Head(chain_id, latest["timestamp"], await self._is_devnet())
        except Exception as exc:
            log.warning("chain_unreachable", error=type(exc).__name__)
            return None

    async def _is_devnet(self) -> bool | None:
        try:
            async with asyncio.timeout(VERSION_TIMEOUT_S):
                return (await self._web3.client_version).startswith(f"{DEVNET}/")
        except Exception:  # many nodes do not tell, which is no trouble of theirs
            return None

    async def authorization(self, payer: str, nonce: str, age_s: float) -> OnChain | None:
        """What became of an authorization that is at most `age_s` seconds old; None when nobody answers."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await self._ask(payer, nonce, age_s)
        except Exception as exc:
            log.warning("chain_unreachable", error=type(exc).__name__)
            return None

    async def moved_to(self, receiver: str, transaction_hash: str) -> int | None:
        """Atomic units of the token that a mined transaction moved to `receiver` from others.

        None when no block has it. Raises `Unavailable` when nobody answers.
        """
        from web3.exceptions import TransactionNotFound
        from web3.logs import DISCARD

        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                receipt = await self._web3.eth.get_transaction_receipt(HexStr(transaction_hash))
        except TransactionNotFound:
            return None
        except Exception as exc:
            log.warning("chain_unreachable", error=type(exc).__name__)
            raise Unavailable("the chain does not answer now", code="chain_unavailable") from None
        to = self._checksum(receiver)
        moved = self._token.events.Transfer().process_receipt(receipt, errors=DISCARD)
        return sum(
            int(event["args"]["value"])
            for event in moved
            # The transaction may hold transfers of other tokens, which look the same.
            if event["address"] == self._token.address
            and event["args"]["to"] == to
            and event["args"]["from"] != to
        )

    async def _ask(self, payer: str, nonce: str, age_s: float) -> OnChain:
        address, word = self._checksum(payer), bytes.fromhex(nonce[2:])
        if not await self._token.functions.authorizationState(address, word).call():
            return OnChain("unused")
        latest = await self._web3.eth.block_number
        first = max(0, latest - int(age_s / BLOCK_TIME_S) - SLACK_BLOCKS)
        match = {"authorizer": address, "nonce": word}
        events = self._token.events
        if used := await events.AuthorizationUsed().get_logs(argument_filters=match, from_block=first):
            return OnChain("used", "0x" + bytes(used[0]["transactionHash"]).hex())
        if await events.AuthorizationCanceled().get_logs(argument_filters=match, from_block=first):
            return OnChain("cancelled")
        return OnChain("used")
