"""Signed receipts: what was asked, what was answered, who paid how much, in which transaction.

A receipt is EIP-712 typed data signed by the broker's receipt key (secp256k1), whose address and types
stand in `GET /.well-known/x402`. Any EIP-712 library can check one; `verify_receipt` is how in Python.
`requestHash` is the one that the 402 names; `resultHash` is the SHA-256 of the exact bytes of the answer's
body; `amount` is atomic units (10^-6 USD).
"""

import re
from typing import Any

DOMAIN_NAME = "Galaksio receipt"
DOMAIN_VERSION = "1"
PRIMARY_TYPE = "Receipt"
TYPES: dict[str, list[dict[str, str]]] = {
    PRIMARY_TYPE: [
        {"name": "version", "type": "uint256"},
        {"name": "broker", "type": "string"},
        {"name": "network", "type": "string"},
        {"name": "asset", "type": "address"},
        {"name": "payTo", "type": "address"},
        {"name": "payer", "type": "address"},
        {"name": "amount", "type": "uint256"},
        {"name": "transaction", "type": "bytes32"},
        {"name": "requestHash", "type": "string"},
        {"name": "resultHash", "type": "string"},
        {"name": "jobId", "type": "string"},
        {"name": "settledAt", "type": "string"},
    ]
}
_FORMS = {
    "network": r"eip155:[1-9][0-9]{0,18}",
    "asset": r"0x[0-9a-fA-F]{40}",
    "payTo": r"0x[0-9a-fA-F]{40}",
    "payer": r"0x[0-9a-fA-F]{40}",
    "amount": r"[1-9][0-9]{0,77}",
    "transaction": r"0x[0-9a-f]{64}",
    "requestHash": r"[0-9a-f]{64}",
    "resultHash": r"[0-9a-f]{64}",
}


def receipt_domain(chain_id: int) -> dict[str, Any]:
    """The EIP-712 domain of receipts for payments on `chain_id`."""
    return {"name": DOMAIN_NAME, "version": DOMAIN_VERSION, "chainId": chain_id}


def signable_receipt(receipt: dict[str, Any]) -> Any:
    """The EIP-712 message of `receipt` (with or without its signature). Raises `ValueError` if malformed."""
    from eth_account.messages import encode_typed_data

    message = {name: value for name, value in receipt.items() if name != "signature"}
    names = [field["name"] for field in TYPES[PRIMARY_TYPE]]
    texts = [value for name, value in message.items() if name != "version"]
    if set(message) != set(names) or message["version"] != 1 or not all(isinstance(t, str) for t in texts):
        raise ValueError("not a receipt of version 1")
    if any(not re.fullmatch(form, message[name], re.ASCII) for name, form in _FORMS.items()):
        raise ValueError("a field of the receipt is malformed")
    domain = receipt_domain(int(message["network"].removeprefix("eip155:")))
    return encode_typed_data(domain, TYPES, {**message, "amount": int(message["amount"])})


def verify_receipt(receipt: dict[str, Any], key_address: str) -> bool:
    """Whether the broker whose receipt key is `key_address` signed exactly this receipt. Never raises."""
    from eth_account import Account

    try:
        signer = Account.recover_message(signable_receipt(receipt), signature=receipt["signature"])
        return bool(signer.lower() == key_address.lower())
    except Exception:
        return False


def published_key(address: str, chain_id: int) -> dict[str, Any]:
    """What a third party needs to check receipts, as `GET /.well-known/x402` publishes it."""
    return {
        "address": address,
        "scheme": "EIP-712",
        "domain": receipt_domain(chain_id),
        "primaryType": PRIMARY_TYPE,
        "types": TYPES,
    }
