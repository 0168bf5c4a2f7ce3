"""A small Ethereum JSON-RPC: what web3.py and wallets need to read the chain and to send to it.

Methods run on the chain's thread, take the request's `params` and return JSON. Wrong parameters raise
`RpcError` -32602; a call that reverts is error 3 with the revert data, as geth answers it.
"""

from collections.abc import Callable
from typing import Any

from eth.abc import BlockHeaderAPI, SignedTransactionAPI
from eth.constants import ZERO_ADDRESS

from devnet import rpc_format as fmt
from devnet import rpc_params as parse
from devnet.chain import DevnetChain
from devnet.evm import MAX_TX_GAS, Call, ExecutionFailed, TransactionRefused
from devnet.rpc_logs import get_logs
from devnet.rpc_params import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    REVERTED,
    SERVER_ERROR,
    RpcError,
)
from shared import __version__
from shared.networks import DEVNET

MAX_BATCH = 100


def answer(chain: DevnetChain, request: Any) -> dict[str, Any] | None:
    """Answer one request object; None for a notification (a request without `id`)."""
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        return RpcError(INVALID_REQUEST, "a request is an object with a method").body()
    request_id, params = request.get("id"), request.get("params", [])
    if not isinstance(request_id, str | int | float | None):
        return RpcError(INVALID_REQUEST, "an id is a string or a number").body()
    try:
        result = _run(chain, request["method"], params)
    except RpcError as exc:
        body = exc.body(request_id)
    else:
        body = {"jsonrpc": "2.0", "id": request_id, "result": result}
    return body if "id" in request else None


def _run(chain: DevnetChain, method: str, params: Any) -> Any:
    function = METHODS.get(method)
    if function is None:
        raise RpcError(METHOD_NOT_FOUND, f"the devnet has no method {method[:64]}")
    if not isinstance(params, list):
        raise RpcError(INVALID_PARAMS, "params is a list")
    try:
        return function(chain, *params)
    except ExecutionFailed as exc:
        code = REVERTED if exc.reverted else SERVER_ERROR
        raise RpcError(code, str(exc), fmt.data(exc.data) if exc.reverted else None) from None
    except TransactionRefused as exc:
        raise RpcError(SERVER_ERROR, str(exc)) from None
    except TypeError as exc:
        # Only a wrong number of params is the caller's mistake; parsing refuses wrong kinds itself.
        if exc.__traceback__ is not None and exc.__traceback__.tb_next is None:
            raise RpcError(INVALID_PARAMS, f"wrong number of params for {method}") from None
        raise


def _call(chain: DevnetChain, call: Any, tag: Any = "latest") -> str:
    return fmt.data(chain.call(_call_object(call), _at(chain, tag)))


def _estimate_gas(chain: DevnetChain, call: Any, tag: Any = "latest") -> str:
    _at(chain, tag)
    return hex(chain.estimate_gas(_call_object(call)))


def _send_raw(chain: DevnetChain, raw: Any) -> str:
    encoded = parse.data(raw, "transaction")
    try:
        transaction = chain.decode_transaction(encoded)
        transaction.check_signature_validity()
        sender = transaction.sender
    except Exception as exc:  # rlp, py-evm and eth-keys have no common error
        raise RpcError(INVALID_PARAMS, f"not a signed transaction ({type(exc).__name__})") from None
    _check_chain_id(chain, transaction)
    expected = chain.state().get_nonce(sender)
    if transaction.nonce != expected:
        word = "low" if transaction.nonce < expected else "high"
        raise RpcError(SERVER_ERROR, f"nonce too {word}: next nonce {expected}, tx nonce {transaction.nonce}")
    return chain.mine(transaction).hash


def _check_chain_id(chain: DevnetChain, transaction: SignedTransactionAPI) -> None:
    # A signature without a chain id (before EIP-155) could be replayed on a real network.
    if transaction.chain_id != chain.network.chain_id:
        raise RpcError(SERVER_ERROR, f"invalid chain id for signer: want {chain.network.chain_id}")


def _receipt(chain: DevnetChain, transaction_hash: Any) -> Any:
    mined = chain.find(parse.word(transaction_hash))
    return None if mined is None else fmt.receipt(mined)


def _transaction(chain: DevnetChain, transaction_hash: Any) -> Any:
    mined = chain.find(parse.word(transaction_hash))
    return None if mined is None else fmt.transaction(mined.transaction, mined.header)


def _block(chain: DevnetChain, tag: Any, full: Any = False) -> Any:
    header = chain.head() if parse.is_now(tag) else _header(chain, tag)
    return None if header is None else fmt.block(chain.block(header), full=full is True)


def _balance(chain: DevnetChain, address: Any, tag: Any = "latest") -> str:
    return hex(chain.state(_at(chain, tag)).get_balance(parse.address(address)))


def _nonce(chain: DevnetChain, address: Any, tag: Any = "latest") -> str:
    return hex(chain.state(_at(chain, tag)).get_nonce(parse.address(address)))


def _code(chain: DevnetChain, address: Any, tag: Any = "latest") -> str:
    return fmt.data(chain.state(_at(chain, tag)).get_code(parse.address(address)))


def _storage(chain: DevnetChain, address: Any, slot: Any, tag: Any = "latest") -> str:
    value = chain.state(_at(chain, tag)).get_storage(parse.address(address), parse.quantity(slot, "slot"))
    return fmt.data(value.to_bytes(32, "big"))


METHODS: dict[str, Callable[..., Any]] = {
    "web3_clientVersion": lambda _: f"{DEVNET}/{__version__}",
    "net_version": lambda chain: str(chain.network.chain_id),
    "eth_chainId": lambda chain: hex(chain.network.chain_id),
    "eth_syncing": lambda _: False,
    "eth_accounts": lambda _: [],
    "eth_gasPrice": lambda _: "0x0",
    "eth_maxPriorityFeePerGas": lambda _: "0x0",
    "eth_blockNumber": lambda chain: hex(chain.head().block_number),
    "eth_getBlockByNumber": _block,
    "eth_call": _call,
    "eth_estimateGas": _estimate_gas,
    "eth_getBalance": _balance,
    "eth_getTransactionCount": _nonce,
    "eth_getCode": _code,
    "eth_getStorageAt": _storage,
    "eth_sendRawTransaction": _send_raw,
    "eth_getTransactionReceipt": _receipt,
    "eth_getLogs": get_logs,
    "eth_getTransactionByHash": _transaction,
}


def _call_object(call: Any) -> Call:
    if not isinstance(call, dict):
        raise RpcError(INVALID_PARAMS, "a call is an object")
    data = call.get("input", call.get("data"))
    return Call(
        to=b"" if call.get("to") is None else parse.address(call["to"]),
        data=b"" if data is None else parse.data(data, "data"),
        sender=ZERO_ADDRESS if call.get("from") is None else parse.address(call["from"]),
        value=0 if call.get("value") is None else parse.quantity(call["value"], "value"),
        gas=MAX_TX_GAS if call.get("gas") is None else parse.quantity(call["gas"], "gas"),
    )


def _at(chain: DevnetChain, tag: Any) -> BlockHeaderAPI | None:
    """None for the state of now; raises for a block that does not exist."""
    if parse.is_now(tag):
        return None
    header = _header(chain, tag)
    if header is None:
        raise RpcError(SERVER_ERROR, "header not found")
    return header


def _header(chain: DevnetChain, tag: Any) -> BlockHeaderAPI | None:
    return chain.header(parse.block_number(tag))
