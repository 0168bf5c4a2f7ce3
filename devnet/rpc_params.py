"""JSON-RPC parameters: strict parsing, and the error that wrong ones raise."""

import re
from typing import Any

from eth_typing import Address

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
LIMIT_EXCEEDED = -32005
"""EIP-1474."""
SERVER_ERROR, REVERTED = -32000, 3
NOW = frozenset({"latest", "pending", "safe", "finalized"})
"""Tags of the newest block: a transaction is mined at once, and a block is final."""

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_DATA = re.compile(r"0x([0-9a-fA-F]{2})*")
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")


class RpcError(Exception):
    """An error object of JSON-RPC 2.0."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data

    def body(self, request_id: Any = None) -> dict[str, Any]:
        error = {"code": self.code, "message": str(self)} | ({"data": self.data} if self.data else {})
        return {"jsonrpc": "2.0", "id": request_id, "error": error}


def is_now(tag: Any) -> bool:
    return isinstance(tag, str) and tag in NOW


def address(value: Any) -> Address:
    return Address(bytes.fromhex(_match(_ADDRESS, value, "address")))


def word(value: Any, name: str = "hash") -> bytes:
    """32 bytes."""
    return bytes.fromhex(_match(_HASH, value, name))


def data(value: Any, name: str) -> bytes:
    return bytes.fromhex(_match(_DATA, value, name))


def quantity(value: Any, name: str) -> int:
    return int(_match(_QUANTITY, value, name), 16)


def block_number(tag: Any) -> int:
    """The number that `tag` is; tags of the newest block are the caller's business (`is_now`)."""
    return 0 if tag == "earliest" else quantity(tag, "block")


def _match(pattern: re.Pattern[str], value: Any, name: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise RpcError(INVALID_PARAMS, f"{name} is not well-formed")
    return value[2:]
