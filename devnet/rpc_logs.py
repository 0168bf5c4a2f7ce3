"""`eth_getLogs`: the filter object of ethereum/execution-apis, within bounds."""

from collections.abc import Callable
from typing import Any, TypeVar

from devnet import rpc_format as fmt
from devnet import rpc_params as params
from devnet.chain import DevnetChain
from devnet.log_index import MAX_TOPICS, LogFilter
from devnet.rpc_params import INVALID_PARAMS, LIMIT_EXCEEDED, SERVER_ERROR, RpcError

MAX_RESULTS = 10_000
MAX_BLOCKS = 100_000
"""For a filter that names no indexed argument, and so has to look at every log of its blocks."""
MAX_ALTERNATIVES = 1000

T = TypeVar("T")


def get_logs(chain: DevnetChain, filter_object: Any) -> list[dict[str, Any]]:
    """Logs that pass the filter, oldest first. Raises `RpcError` -32602 for a malformed filter, -32005 for
    one that asks for too much, -32000 for an unknown `blockHash`."""
    if not isinstance(filter_object, dict):
        raise RpcError(INVALID_PARAMS, "a filter is an object")
    first, last = _blocks(chain, filter_object)
    wanted = LogFilter(
        first,
        last,
        _any_of(filter_object.get("address"), "address", params.address),
        _topics(filter_object.get("topics")),
    )
    if last - first >= MAX_BLOCKS and not wanted.is_narrow:
        text = f"a filter without an indexed argument spans at most {MAX_BLOCKS} blocks"
        raise RpcError(LIMIT_EXCEEDED, text)
    found = chain.logs.find(wanted, MAX_RESULTS + 1)
    if len(found) > MAX_RESULTS:
        raise RpcError(LIMIT_EXCEEDED, f"query returned more than {MAX_RESULTS} results")
    return [fmt.log(item) for item in found]


def _blocks(chain: DevnetChain, filter_object: dict[str, Any]) -> tuple[int, int]:
    """First and last block, both existing; `(1, 0)` for a range that lies in the future."""
    block_hash, start, end = (filter_object.get(key) for key in ("blockHash", "fromBlock", "toBlock"))
    head = chain.head().block_number
    if block_hash is None:
        first, last = (_number(tag, head) for tag in (start, end))
        if first > head:
            return 1, 0
        if first > last:
            raise RpcError(INVALID_PARAMS, "fromBlock is after toBlock")
        return first, min(last, head)
    if start is not None or end is not None:
        raise RpcError(INVALID_PARAMS, "blockHash goes without fromBlock and toBlock")
    header = chain.header_by_hash(params.word(block_hash, "blockHash"))
    if header is None:
        raise RpcError(SERVER_ERROR, "unknown block")
    return header.block_number, header.block_number


def _number(tag: Any, head: int) -> int:
    return head if tag is None or params.is_now(tag) else params.block_number(tag)


def _topics(value: Any) -> list[list[bytes]]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_TOPICS:
        raise RpcError(INVALID_PARAMS, f"topics is a list of at most {MAX_TOPICS}")
    return [_any_of(item, "topic", lambda topic: params.word(topic, "topic")) for item in value]


def _any_of(value: Any, name: str, parse: Callable[[Any], T]) -> list[T]:
    """One value or a list of alternatives; nothing, or an empty list, for any."""
    alternatives = [] if value is None else value if isinstance(value, list) else [value]
    if len(alternatives) > MAX_ALTERNATIVES:
        raise RpcError(INVALID_PARAMS, f"at most {MAX_ALTERNATIVES} alternatives for {name}")
    return [parse(item) for item in alternatives]
