"""What the x402 package's facilitator needs from a chain (its `FacilitatorEvmSigner`), without a network."""

from typing import Any

from eth_utils.address import to_canonical_address
from x402.mechanisms.evm.constants import TX_STATUS_SUCCESS
from x402.mechanisms.evm.data_suffix import append_data_suffix
from x402.mechanisms.evm.types import TransactionReceipt, TypedDataDomain, TypedDataField
from x402.mechanisms.evm.verify import verify_typed_data_strict

from devnet import dollar
from devnet.abi import decode_result, encode_contract_call
from devnet.chain import DevnetChain
from devnet.evm import Call

_TX_GAS = 500_000
"""As the package's own `FacilitatorWeb3Signer`."""


class ChainSigner:
    """Sends from the facilitator's key. Every method runs on the chain's thread and returns at once: a
    transaction is in a block when `write_contract` returns."""

    def __init__(self, chain: DevnetChain) -> None:
        self._chain = chain

    def get_addresses(self) -> list[str]:
        return [str(self._chain.keys.facilitator.address)]

    def get_chain_id(self) -> int:
        return self._chain.network.chain_id

    def read_contract(self, address: str, abi: list[dict[str, Any]], function_name: str, *args: Any) -> Any:
        """Raises `LookupError` where there is no contract, `ExecutionFailed`, `ValueError`."""
        self._require_code(address)
        call = Call(
            to=to_canonical_address(address),
            data=encode_contract_call(abi, function_name, *args),
            sender=to_canonical_address(self._chain.keys.facilitator.address),
        )
        return decode_result(abi, function_name, self._chain.call(call))

    def write_contract(
        self,
        address: str,
        abi: list[dict[str, Any]],
        function_name: str,
        *args: Any,
        data_suffix: str | None = None,
    ) -> str:
        """Raises `LookupError` where there is no contract, `TransactionRefused`."""
        self._require_code(address)
        data = encode_contract_call(abi, function_name, *args)
        if data_suffix:
            data = bytes.fromhex(append_data_suffix("0x" + data.hex(), data_suffix).removeprefix("0x"))
        return self.send_transaction(address, data)

    def send_transaction(self, to: str, data: bytes) -> str:
        return self._chain.send(self._chain.keys.facilitator, to, data, _TX_GAS).hash

    def wait_for_transaction_receipt(self, tx_hash: str) -> TransactionReceipt:
        """Raises `LookupError` for a hash that is in no block: there is nothing to wait for."""
        mined = self._chain.find(bytes.fromhex(tx_hash.removeprefix("0x")))
        if mined is None:
            raise LookupError(f"transaction {tx_hash} is in no block")
        return TransactionReceipt(
            status=TX_STATUS_SUCCESS if mined.succeeded else 0,
            block_number=mined.header.block_number,
            tx_hash=tx_hash,
            logs=[
                {
                    "address": "0x" + log.address.hex(),
                    "topics": [topic.to_bytes(32, "big") for topic in log.topics],
                    "data": bytes(log.data),
                }
                for log in mined.receipt.logs
            ],
        )

    def verify_typed_data(  # noqa: PLR0917 (the package's protocol)
        self,
        address: str,
        domain: TypedDataDomain,
        types: dict[str, list[TypedDataField]],
        primary_type: str,
        message: dict[str, Any],
        signature: bytes,
    ) -> bool:
        """As the token on the chain decides: ECDSA for a plain key, EIP-1271 for an address with code."""
        return bool(
            verify_typed_data_strict(
                self,
                address,
                domain,
                types,  # type: ignore[arg-type]  # dict and list are invariant; the callee only reads
                primary_type,
                message,
                signature,
            )
        )

    def get_balance(self, address: str, token_address: str) -> int:
        if to_canonical_address(token_address) == to_canonical_address(self._chain.network.asset):
            return dollar.balance_atomic(self._chain, address)
        return int(self._chain.state().get_balance(to_canonical_address(address)))

    def get_code(self, address: str) -> bytes:
        return bytes(self._chain.state().get_code(to_canonical_address(address)))

    def _require_code(self, address: str) -> None:
        # A call to an empty address succeeds in the EVM: a "settlement" that moves nothing.
        if not self.get_code(address):
            raise LookupError(f"there is no contract at {address}")
