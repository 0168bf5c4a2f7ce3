"""Contract calls as bytes: encoding, decoding, revert texts, and the two contracts of genesis."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from x402.mechanisms.evm.multicall import encode_contract_call

__all__ = ["Artifact", "artifact", "decode_result", "encode_contract_call", "revert_text"]

CONTRACTS = Path(__file__).parent / "contracts"
_ERROR_STRING = bytes.fromhex("08c379a0")
_PANIC = bytes.fromhex("4e487b71")


@dataclass(frozen=True)
class Artifact:
    """A compiled contract as `contracts/build.mjs` wrote it. `slots` maps a state variable to its slot."""

    abi: list[dict[str, Any]]
    code: bytes
    slots: dict[str, int]


@cache
def artifact(name: str) -> Artifact:
    """Load `contracts/<name>.json`."""
    content = json.loads((CONTRACTS / f"{name}.json").read_text())
    return Artifact(
        abi=content["abi"],
        code=bytes.fromhex(content["deployedBytecode"][2:]),
        slots=content["storageSlots"],
    )


def decode_result(abi: list[dict[str, Any]], function_name: str, data: bytes) -> Any:
    """Decode what `function_name` returned: None, the one value, or a list of values.

    Raises `ValueError` when `data` does not have the shape that the ABI promises.
    """
    function = next(item for item in abi if item.get("type") == "function" and item["name"] == function_name)
    types = [_canonical(item) for item in function.get("outputs", [])]
    if not types:
        return None
    try:
        values = decode(types, data)
    except DecodingError as exc:
        raise ValueError(f"{function_name} returned something else than {', '.join(types)}: {exc}") from None
    return values[0] if len(values) == 1 else list(values)


def revert_text(data: bytes) -> str:
    """The reason in a revert's return data (Solidity's `Error(string)`, `Panic(uint256)`), "" if none."""
    try:
        if data[:4] == _ERROR_STRING:
            return str(decode(["string"], data[4:])[0])
        if data[:4] == _PANIC:
            return f"panic 0x{decode(['uint256'], data[4:])[0]:02x}"
    except DecodingError:
        return ""
    return ""


def _canonical(item: dict[str, Any]) -> str:
    kind = str(item["type"])
    if not kind.startswith("tuple"):
        return kind
    inside = ",".join(_canonical(part) for part in item["components"])
    return f"({inside}){kind.removeprefix('tuple')}"
