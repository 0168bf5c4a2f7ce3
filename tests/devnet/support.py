"""What the devnet's tests share: a payer, the wire bodies of x402, a client, a devnet process."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from eth_account import Account

from tests.support.ports import free_port
from tests.support.programs import Recorded
from tests.support.services import READY_S

# As payments.md §1 states them; the devnet reads its own from the x402 package.
USDC = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
CHAIN_ID = 84532
NETWORKS = {1: "base-sepolia", 2: "eip155:84532"}
NONCE_USED = "invalid_exact_evm_nonce_already_used"

_FIELDS = [
    {"name": "from", "type": "address"},
    {"name": "to", "type": "address"},
    {"name": "value", "type": "uint256"},
    {"name": "validAfter", "type": "uint256"},
    {"name": "validBefore", "type": "uint256"},
    {"name": "nonce", "type": "bytes32"},
]


def sign(
    account: Any,
    primary_type: str,
    fields: list[dict[str, str]],
    message: dict[str, Any],
    asset: str = USDC,
) -> str:
    """Sign EIP-712 typed data for a token's domain with eth-account, not with the code under test."""
    domain = {"name": "USDC", "version": "2", "chainId": CHAIN_ID, "verifyingContract": asset}
    signed = account.sign_typed_data(domain, {primary_type: fields}, message)
    return "0x" + bytes(signed.signature).hex()


class Payer:
    """A key with an address; signs EIP-3009 payments."""

    def __init__(self) -> None:
        self.account = Account.create()
        self.address: str = self.account.address

    def authorize(
        self,
        to: str,
        value: int,
        now: float,
        *,
        valid_after: int | None = None,
        valid_before: int | None = None,
        nonce: str | None = None,
        primary_type: str = "TransferWithAuthorization",
        asset: str = USDC,
    ) -> dict[str, Any]:
        """The inner payload of a payment: `{signature, authorization}`."""
        message = {
            "from": self.address,
            "to": to,
            "value": value,
            "validAfter": int(now) - 60 if valid_after is None else valid_after,
            "validBefore": int(now) + 600 if valid_before is None else valid_before,
            "nonce": nonce or "0x" + os.urandom(32).hex(),
        }
        signature = sign(self.account, primary_type, _FIELDS, message, asset)
        texts = {key: str(item) if isinstance(item, int) else item for key, item in message.items()}
        return {"signature": signature, "authorization": texts}


def payment(version: int, payload: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The body of `/verify` and `/settle`, as the package's clients send it; `changes` are requirements."""
    authorization = payload.get("authorization", {})
    amount = "amount" if version == 2 else "maxAmountRequired"
    requirements = {
        "scheme": "exact",
        "network": NETWORKS[version],
        amount: authorization.get("value", "1"),
        "payTo": authorization.get("to", USDC),
        "asset": USDC,
        "maxTimeoutSeconds": 600,
        "extra": {"name": "USDC", "version": "2"},
        **({"resource": "http://localhost:8080/run"} if version == 1 else {}),
        **changes,
    }
    head: dict[str, Any] = {"x402Version": version, "payload": payload}
    if version == 2:
        head["accepted"] = requirements
    else:
        head |= {"scheme": requirements["scheme"], "network": requirements["network"]}
    return {"x402Version": version, "paymentPayload": head, "paymentRequirements": requirements}


class FakeClock:
    """Unix seconds that only move when told."""

    def __init__(self) -> None:
        self.now = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """The devnet's routes as a test speaks of them."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def get(self, path: str) -> Any:
        return self._ok(await self.http.get(path))

    async def post(self, path: str, body: Any) -> Any:
        return self._ok(await self.http.post(path, json=body))

    async def rpc(self, method: str, *params: Any) -> Any:
        answer = await self.post("/rpc", {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        assert "error" not in answer, answer
        return answer["result"]

    async def funded(self) -> Payer:
        payer = Payer()
        await self.post("/faucet", {"address": payer.address})
        return payer

    async def balance(self, address: str) -> int:
        return int((await self.get(f"/balance/{address}"))["balance"])

    async def used(self, payload: dict[str, Any]) -> bool:
        authorization = payload["authorization"]
        answer = await self.get(f"/authorization/{authorization['from']}/{authorization['nonce']}")
        return bool(answer["used"])

    async def deploy(self, runtime: bytes) -> str:
        """Put a contract with this code (at most 255 bytes) on the chain; returns its address."""
        # CODECOPY(0, 10, size); RETURN(0, size), behind which the code lies.
        init = bytes.fromhex(f"60{len(runtime):02x}80600a5f395ff3").ljust(10, b"\0") + runtime
        transaction = {"chainId": CHAIN_ID, "nonce": 0, "gas": 500_000, "gasPrice": 0, "value": 0}
        signed = Account.create().sign_transaction({**transaction, "data": init})
        sent = await self.rpc("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
        receipt = await self.rpc("eth_getTransactionReceipt", sent)
        assert receipt["status"] == "0x1"
        return str(receipt["contractAddress"])

    async def facilitator_nonce(self) -> int:
        signers = (await self.get("/supported"))["signers"]["eip155:*"]
        return int(await self.rpc("eth_getTransactionCount", signers[0], "latest"), 16)

    @staticmethod
    def _ok(response: httpx.Response) -> Any:
        assert response.status_code == 200, response.text
        return response.json()


def start(home: Path, port: int, **environment: str) -> Recorded:
    """`python -m devnet` in a process of its own, in an empty folder (no `.env`)."""
    home.mkdir(exist_ok=True)
    base = {key: value for key, value in os.environ.items() if not key.startswith(("X402_", "DEVNET_"))}
    settings = {"GALAKSIO_HOME": str(home), "DEVNET_PORT": str(port), **environment}
    return Recorded("devnet", cwd=home, env={**base, "PYTHONUNBUFFERED": "1", **settings})


def end_of(process: "Recorded | subprocess.Popen[str]") -> tuple[str, str]:
    """Standard output and error of a process that ends by itself; one that does not is killed."""
    try:
        return process.communicate(timeout=40)
    finally:
        process.kill()


@contextmanager
def running(home: Path) -> Iterator[tuple[str, Recorded]]:
    """A devnet process that answers, and its address. It is killed (SIGKILL) at the end."""
    port = free_port()
    process = start(home, port)
    try:
        wait_until_up(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.communicate(timeout=20)


def wait_until_up(url: str, process: "Recorded | subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate(timeout=20)
        try:
            if httpx.get(f"{url}/health", timeout=2, verify=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the devnet did not come up in time")
