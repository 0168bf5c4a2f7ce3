"""Wallets that sign by hand, without any x402 library: what a client in another language does."""

import base64
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

import httpx
from eth_account import Account
from eth_account.signers.local import LocalAccount

TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ],
    "TransferWithAuthorization": [
        {"name": "from", "type": "address"},
        {"name": "to", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "validAfter", "type": "uint256"},
        {"name": "validBefore", "type": "uint256"},
        {"name": "nonce", "type": "bytes32"},
    ],
}
CHAIN_ID = 84532


@dataclass
class Wallet:
    account: LocalAccount

    @property
    def address(self) -> str:
        return str(self.account.address)

    @property
    def key(self) -> str:
        return "0x" + bytes(self.account.key).hex()

    def payload(
        self, asset: str, pay_to: str, value: int, extra: dict[str, Any], /, **changes: Any
    ) -> dict[str, Any]:
        """A signed EIP-3009 payload. `changes` replace fields of the authorization before it is signed."""
        now = int(time.time())
        message = {
            "from": self.address,
            "to": pay_to,
            "value": str(value),
            "validAfter": "0",
            "validBefore": str(now + 250),
            "nonce": "0x" + secrets.token_hex(32),
            **changes,
        }
        typed = {
            "types": TYPES,
            "primaryType": "TransferWithAuthorization",
            "domain": {
                "name": extra["name"],
                "version": extra["version"],
                "chainId": CHAIN_ID,
                "verifyingContract": asset,
            },
            "message": {**message, **{k: int(message[k]) for k in ("value", "validAfter", "validBefore")}},
        }
        signature = self.account.sign_typed_data(full_message=typed).signature
        return {"signature": "0x" + bytes(signature).hex(), "authorization": message}

    def pay_v1(self, challenge: httpx.Response, **changes: Any) -> dict[str, str]:
        """The X-PAYMENT header for a 402 answer."""
        wanted = challenge.json()["accepts"][0]
        payload = self.payload(
            wanted["asset"], wanted["payTo"], int(wanted["maxAmountRequired"]), wanted["extra"], **changes
        )
        envelope = {"x402Version": 1, "scheme": "exact", "network": wanted["network"], "payload": payload}
        return {"X-PAYMENT": b64(envelope)}

    def pay_v2(self, challenge: httpx.Response, **changes: Any) -> dict[str, str]:
        """The PAYMENT-SIGNATURE header for a 402 answer."""
        required = json.loads(base64.b64decode(challenge.headers["PAYMENT-REQUIRED"]))
        accepted = required["accepts"][0]
        payload = self.payload(
            accepted["asset"], accepted["payTo"], int(accepted["amount"]), accepted["extra"], **changes
        )
        envelope = {
            "x402Version": 2,
            "payload": payload,
            "accepted": accepted,
            "resource": required["resource"],
        }
        return {"PAYMENT-SIGNATURE": b64(envelope)}


def b64(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def receipt_of(response: httpx.Response) -> dict[str, Any]:
    """The decoded settlement receipt, whichever version's header carries it."""
    header = response.headers.get("PAYMENT-RESPONSE") or response.headers["X-PAYMENT-RESPONSE"]
    decoded: dict[str, Any] = json.loads(base64.b64decode(header))
    return decoded


def new_wallet() -> Wallet:
    return Wallet(Account.create())


def funded_wallet(devnet_url: str) -> Wallet:
    """A new wallet with 100 test dollars."""
    wallet = new_wallet()
    httpx.post(
        f"{devnet_url}/faucet", json={"address": wallet.address}, trust_env=False, verify=False, timeout=60
    ).raise_for_status()
    return wallet
