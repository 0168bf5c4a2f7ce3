"""The rules of the chain, and the words for what happens on it."""

from dataclasses import dataclass
from typing import Any, cast

from eth.abc import BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI, StateAPI
from eth.constants import CREATE_CONTRACT_ADDRESS, ZERO_ADDRESS
from eth.exceptions import Revert, VMError
from eth.vm.forks.shanghai import ShanghaiVM
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address
from eth_utils.exceptions import ValidationError

from devnet.abi import revert_text

MAX_TX_GAS = 2**24
"""EIP-7825. Also half a block, so that the base fee (EIP-1559) never leaves 0."""
BLOCK_GAS_LIMIT = 2 * MAX_TX_GAS


class DevnetVM(ShanghaiVM):
    """Shanghai, except that a block may share its parent's second."""

    @classmethod
    def validate_header(cls, header: BlockHeaderAPI, parent_header: BlockHeaderAPI) -> None:
        if header.timestamp < parent_header.timestamp:
            raise ValidationError("a block is not older than its parent")
        super().validate_header(header, parent_header.copy(timestamp=header.timestamp - 1))


class ExecutionFailed(Exception):
    """A call that the EVM stopped. `data` is what it reverted with.

    The text says "reverted" only for a REVERT, as nodes do: the x402 package tells a revert from a broken
    connection by that word.
    """

    def __init__(self, error: VMError, output: bytes) -> None:
        self.reverted = isinstance(error, Revert)
        self.data = output if self.reverted else b""
        reason = revert_text(self.data)
        text = "execution reverted" if self.reverted else f"{type(error).__name__}: {error}"
        super().__init__(f"{text}: {reason}" if reason else text)


class TransactionRefused(Exception):
    """The transaction cannot be in a block (nonce, balance, gas, chain id). Nothing was changed."""


@dataclass(frozen=True)
class Call:
    """A call from nobody in particular to `to` (20 bytes; empty creates a contract), `value` in wei."""

    to: bytes
    data: bytes = b""
    sender: bytes = ZERO_ADDRESS
    value: int = 0
    gas: int = MAX_TX_GAS

    def as_transaction(self, state: StateAPI) -> SignedTransactionAPI:
        """A transaction that py-evm executes without a signature, at no cost."""
        sender = Address(self.sender)
        unsigned = DevnetVM.create_unsigned_transaction(
            nonce=state.get_nonce(sender),
            gas_price=0,
            gas=min(self.gas, MAX_TX_GAS),
            to=Address(self.to) if self.to else CREATE_CONTRACT_ADDRESS,
            value=self.value,
            data=self.data,
        )
        spoofed: Any = SpoofTransaction(unsigned, from_=sender)
        return cast(SignedTransactionAPI, spoofed)


@dataclass(frozen=True)
class Mined:
    """A transaction in a block of its own."""

    transaction: SignedTransactionAPI
    receipt: ReceiptAPI
    header: BlockHeaderAPI

    @property
    def hash(self) -> str:
        return "0x" + self.transaction.hash.hex()

    @property
    def succeeded(self) -> bool:
        return bool(self.receipt.state_root == b"\x01")  # EIP-658
