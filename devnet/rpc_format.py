"""Blocks, transactions and receipts as JSON-RPC writes them (ethereum/execution-apis, schemas)."""

from typing import Any

from eth._utils.address import generate_contract_address
from eth.abc import BlockAPI, BlockHeaderAPI, SignedTransactionAPI
from eth.constants import CREATE_CONTRACT_ADDRESS
from eth_utils.address import to_checksum_address
from rlp.codec import encode as rlp_encode

from devnet.evm import Mined
from devnet.log_index import Log, logs_of


def data(value: bytes) -> str:
    return "0x" + bytes(value).hex()


def block(value: BlockAPI, *, full: bool) -> dict[str, Any]:
    """`full` lists whole transactions instead of their hashes."""
    header = value.header
    transactions = [transaction(tx, header) if full else data(tx.hash) for tx in value.transactions]
    return {
        "number": hex(header.block_number),
        "hash": data(header.hash),
        "parentHash": data(header.parent_hash),
        "timestamp": hex(header.timestamp),
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "baseFeePerGas": hex(header.base_fee_per_gas or 0),
        "miner": to_checksum_address(header.coinbase),
        "extraData": data(header.extra_data),
        "nonce": data(header.nonce),
        "mixHash": data(header.mix_hash),
        "difficulty": hex(header.difficulty),
        "sha3Uncles": data(header.uncles_hash),
        "stateRoot": data(header.state_root),
        "transactionsRoot": data(header.transaction_root),
        "receiptsRoot": data(header.receipt_root),
        "withdrawalsRoot": data(header.withdrawals_root or b""),
        "logsBloom": _bloom(header.bloom),
        "size": hex(len(rlp_encode(value))),  # type: ignore[no-untyped-call]
        "transactions": transactions,
        "uncles": [],
        "withdrawals": [],
    }


def transaction(tx: SignedTransactionAPI, header: BlockHeaderAPI) -> dict[str, Any]:
    kind = _kind(tx)
    fees: dict[str, Any] = {}
    if kind >= 1:
        fees["accessList"] = [
            {"address": to_checksum_address(account), "storageKeys": [_word(slot) for slot in slots]}
            for account, slots in tx.access_list
        ]
        fees["yParity"] = hex(tx.y_parity)
    if kind == 2:
        fees["maxFeePerGas"] = hex(tx.max_fee_per_gas)
        fees["maxPriorityFeePerGas"] = hex(tx.max_priority_fee_per_gas)
    return {
        "hash": data(tx.hash),
        "blockHash": data(header.hash),
        "blockNumber": hex(header.block_number),
        "transactionIndex": "0x0",
        "type": hex(kind),
        "chainId": hex(tx.chain_id or 0),
        "from": to_checksum_address(tx.sender),
        "to": _to(tx),
        "nonce": hex(tx.nonce),
        "value": hex(tx.value),
        "input": data(tx.data),
        "gas": hex(tx.gas),
        "gasPrice": hex(_gas_price(tx, header)),
        "v": hex(tx.y_parity if kind else getattr(tx, "v", 0)),
        "r": hex(tx.r),
        "s": hex(tx.s),
        **fees,
    }


def receipt(mined: Mined) -> dict[str, Any]:
    tx, header = mined.transaction, mined.header
    where = {
        "transactionHash": mined.hash,
        "transactionIndex": "0x0",
        "blockHash": data(header.hash),
        "blockNumber": hex(header.block_number),
    }
    created = None if _to(tx) else to_checksum_address(generate_contract_address(tx.sender, tx.nonce))
    return {
        **where,
        "type": hex(_kind(tx)),
        "from": to_checksum_address(tx.sender),
        "to": _to(tx),
        "contractAddress": created,
        "status": hex(mined.succeeded),
        # A block holds one transaction, so its gas is the block's.
        "gasUsed": hex(mined.receipt.gas_used),
        "cumulativeGasUsed": hex(mined.receipt.gas_used),
        "effectiveGasPrice": hex(_gas_price(tx, header)),
        "logs": [log(item) for item in logs_of(header, tx.hash, mined.receipt.logs)],
        "logsBloom": _bloom(mined.receipt.bloom),
    }


def log(value: Log) -> dict[str, Any]:
    return {
        "address": to_checksum_address(value.address),
        "topics": [data(topic) for topic in value.topics],
        "data": data(value.data),
        "logIndex": hex(value.position),
        "removed": False,
        "transactionHash": data(value.transaction_hash),
        "transactionIndex": "0x0",
        "blockHash": data(value.block_hash),
        "blockNumber": hex(value.block),
    }


def _kind(tx: SignedTransactionAPI) -> int:
    return getattr(tx, "type_id", None) or 0


def _gas_price(tx: SignedTransactionAPI, header: BlockHeaderAPI) -> int:
    return int(min(tx.max_fee_per_gas, tx.max_priority_fee_per_gas + (header.base_fee_per_gas or 0)))


def _to(tx: SignedTransactionAPI) -> str | None:
    return None if tx.to == CREATE_CONTRACT_ADDRESS else to_checksum_address(tx.to)


def _word(value: int) -> str:
    return data(value.to_bytes(32, "big"))


def _bloom(value: int) -> str:
    return data(int(value).to_bytes(256, "big"))
