"""An EVM chain in process, on py-evm: one block per transaction, mined at once, gas for free.

Not thread-safe: `worker.py` gives it one thread. Time comes from an injected clock. A block's time is
`max(now, parent)`, and a call that is not yet in a block runs at that time too, so the chain is never stale
after an idle hour and never ahead after a busy second.
"""

from collections.abc import Sequence
from pathlib import Path

from eth.abc import BlockAPI, BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI, StateAPI
from eth.chains.base import Chain
from eth.constants import ZERO_ADDRESS
from eth.db.atomic import AtomicDB
from eth.estimators.gas import binary_gas_search_1000_tolerance
from eth.exceptions import HeaderNotFound, TransactionNotFound
from eth.vm.chain_context import ChainContext
from eth_account.signers.local import LocalAccount
from eth_keys.datatypes import PrivateKey
from eth_typing import BlockNumber, Hash32
from eth_utils.address import to_canonical_address
from eth_utils.exceptions import ValidationError

from devnet.evm import (
    BLOCK_GAS_LIMIT,
    MAX_TX_GAS,
    Call,
    DevnetVM,
    ExecutionFailed,
    Mined,
    TransactionRefused,
)
from devnet.genesis import Keys, genesis_header, genesis_state, load_or_create_keys
from devnet.log_index import LogIndex, logs_of
from devnet.store import ChainStore
from shared.clock import Clock
from shared.errors import StartupError
from shared.networks import Network

_FORMAT_KEY = b"galaksio:format"
_FORMAT = b"1"
_INDEX_BATCH = 1000


class DevnetChain:
    """The chain in `path`, made on the first start.

    Raises `StartupError` for a file that another process owns or that holds something else.
    """

    def __init__(self, path: Path, network: Network, clock: Clock) -> None:
        self.network = network
        self._clock = clock
        self._context = ChainContext(network.chain_id)
        self._store = ChainStore(path)
        try:
            self.keys: Keys = load_or_create_keys(self._store)
            self._chain = self._open(path)
            self.logs = LogIndex(self._store)
            self._index_old_blocks()
        except BaseException:
            self._store.close()
            raise

    def _open(self, path: Path) -> Chain:
        chain_class = Chain.configure(
            "DevnetChain", vm_configuration=((0, DevnetVM),), chain_id=self.network.chain_id
        )
        database = AtomicDB(self._store)
        if _FORMAT_KEY not in self._store:
            chain_class.from_genesis(
                database,
                genesis_header(int(self._clock()), BLOCK_GAS_LIMIT),
                genesis_state(self.network, self.keys),
            )
            self._store[_FORMAT_KEY] = _FORMAT
            self._store.commit()
        elif self._store[_FORMAT_KEY] != _FORMAT:
            raise StartupError(f"{path} is from another version: move it away to start a new chain.")
        return chain_class(database)

    def _index_old_blocks(self) -> None:
        """Catch up on blocks that a version without the log index wrote."""
        decoder = DevnetVM.get_receipt_builder()
        for number in range(self.logs.head + 1, self.head().block_number + 1):
            header = self._chain.get_canonical_block_header_by_number(BlockNumber(number))
            (receipt,) = self._chain.chaindb.get_receipts(header, decoder)
            (transaction_hash,) = self._chain.chaindb.get_block_transaction_hashes(header)
            self.logs.add(number, logs_of(header, transaction_hash, receipt.logs))
            if number % _INDEX_BATCH == 0:
                self._store.commit()
        self._store.commit()

    def close(self) -> None:
        self._store.close()

    def head(self) -> BlockHeaderAPI:
        return self._chain.get_canonical_head()

    def header(self, number: int) -> BlockHeaderAPI | None:
        try:
            return self._chain.get_canonical_block_header_by_number(BlockNumber(number))
        except HeaderNotFound:
            return None

    def header_by_hash(self, block_hash: bytes) -> BlockHeaderAPI | None:
        try:
            return self._chain.get_block_header_by_hash(Hash32(block_hash))
        except HeaderNotFound:
            return None

    def block(self, header: BlockHeaderAPI) -> BlockAPI:
        return self._chain.get_block_by_header(header)

    def find(self, transaction_hash: bytes) -> Mined | None:
        """The mined transaction with that hash, also from before a restart."""
        try:
            number, index = self._chain.get_canonical_transaction_index(Hash32(transaction_hash))
        except TransactionNotFound:
            return None
        return Mined(
            transaction=self._chain.get_canonical_transaction_by_index(number, index),
            receipt=self._chain.get_transaction_receipt_by_index(number, index),
            header=self._chain.get_canonical_block_header_by_number(number),
        )

    def state(self, at: BlockHeaderAPI | None = None) -> StateAPI:
        """State after block `at`, in that block's time; by default the state of now, in the next block."""
        header = at or self._next_header()
        hashes = DevnetVM.get_prev_hashes(header.parent_hash, self._chain.chaindb) or ()
        return DevnetVM.build_state(self._chain.chaindb.db, header, self._context, hashes)

    def call(self, call: Call, at: BlockHeaderAPI | None = None) -> bytes:
        """Run a call and forget its effects. Raises `ExecutionFailed`, `TransactionRefused`."""
        state = self.state(at)
        try:
            computation = state.costless_execute_transaction(call.as_transaction(state))
        except ValidationError as exc:
            raise TransactionRefused(str(exc)) from None
        if computation.is_error:
            raise ExecutionFailed(computation.error, computation.output)
        return bytes(computation.output)

    def estimate_gas(self, call: Call) -> int:
        """Gas that suffices for the call as a transaction. Raises `ExecutionFailed`, `TransactionRefused`."""
        self.call(call)
        state = self.state()
        return min(int(binary_gas_search_1000_tolerance(state, call.as_transaction(state))), MAX_TX_GAS)

    def send(self, account: LocalAccount, to: str, data: bytes, gas: int) -> Mined:
        """Sign with `account` and mine. The nonce is read from the state, so a failure leaves no gap."""
        unsigned = DevnetVM.create_unsigned_transaction(
            nonce=self.state().get_nonce(to_canonical_address(account.address)),
            gas_price=0,
            gas=gas,
            to=to_canonical_address(to),
            value=0,
            data=data,
        )
        key = PrivateKey(bytes(account.key))
        return self.mine(unsigned.as_signed_transaction(key, chain_id=self.network.chain_id))

    def mine(self, transaction: SignedTransactionAPI) -> Mined:
        """Put `transaction` into a block of its own and commit that block.

        A transaction that reverts is mined too, as failed. Raises `TransactionRefused` for one that cannot be
        in a block and `sqlite3.Error` when the disk refuses; then nothing was changed.
        """
        if transaction.gas > MAX_TX_GAS:
            raise TransactionRefused(f"gas limit over {MAX_TX_GAS}")
        try:
            block, receipts = self._build_block(transaction)
            self._chain.chaindb.persist_block(block)
            self.logs.add(block.number, logs_of(block.header, transaction.hash, receipts[0].logs))
            self._store.commit()
        except ValidationError as exc:
            raise TransactionRefused(str(exc)) from None
        finally:
            self._store.rollback()
        return Mined(transaction, receipts[0], block.header)

    def decode_transaction(self, raw: bytes) -> SignedTransactionAPI:
        """Bytes that are no transaction raise whatever py-evm and rlp raise: they have no common error."""
        return DevnetVM.get_transaction_builder().decode(raw)

    def _build_block(self, transaction: SignedTransactionAPI) -> tuple[BlockAPI, Sequence[ReceiptAPI]]:
        header = self._next_header()
        vm = self._chain.get_vm(header)
        applied, receipts, _ = vm.apply_all_transactions([transaction], header)
        filled = vm.set_block_transactions_and_withdrawals(vm.get_block(), applied, [transaction], receipts)
        return vm.mine_block(filled).block, receipts

    def _next_header(self) -> BlockHeaderAPI:
        parent = self.head()
        header: BlockHeaderAPI = DevnetVM.create_header_from_parent(
            parent,
            timestamp=max(int(self._clock()), parent.timestamp),
            gas_limit=BLOCK_GAS_LIMIT,
            coinbase=ZERO_ADDRESS,
        )
        return header
