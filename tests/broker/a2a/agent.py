"""An agent: it sends messages to a broker and pays what they ask for, without any A2A library."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.wallets import Wallet, b64

Answer = tuple[int, dict[str, Any]]


def task_request(payload: Any, **more: Any) -> dict[str, Any]:
    return {"type": "task_request", "agent_id": "test-agent", "payload": payload, **more}


def payment_submitted(job_id: Any, payment: Any, name: str = "payment") -> dict[str, Any]:
    meta = {"jobId": job_id, name: payment}
    return {"type": "payment_submitted", "agent_id": "test-agent", "payload": {}, "meta": meta}


def payment_for(required: dict[str, Any], wallet: Wallet, version: int, **changes: Any) -> dict[str, Any]:
    """The envelope that pays a `payment_required` message. `changes` are laid over the authorization."""
    if version == 1:
        wanted = required["payload"]["accepts"][0]
        amount = wanted["maxAmountRequired"]
    else:
        told = json.loads(base64.b64decode(required["meta"]["paymentRequired"]))
        wanted = told["accepts"][0]
        amount = wanted["amount"]
    payload = wallet.payload(wanted["asset"], wanted["payTo"], int(amount), wanted["extra"], **changes)
    if version == 1:
        return {"x402Version": 1, "scheme": "exact", "network": wanted["network"], "payload": payload}
    return {"x402Version": 2, "payload": payload, "accepted": wanted, "resource": told["resource"]}


def spelled(payment: dict[str, Any], spelling: str) -> Any:
    """A payment as an `object`, as its `json`, or as the `base64` of that."""
    return {"object": payment, "json": json.dumps(payment), "base64": b64(payment)}[spelling]


@dataclass(frozen=True)
class Agent:
    """`http` is a client of a broker."""

    http: httpx.Client

    def send(self, message: Any, **more: Any) -> Answer:
        response = self.http.post("/a2a/message", json=message, **more)
        answer: dict[str, Any] = response.json()
        return response.status_code, answer

    def ask(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The `payment_required` for a task."""
        status, answer = self.send(task_request(payload))
        assert (status, answer["type"]) == (200, "payment_required"), answer
        return answer

    def pay(self, required: dict[str, Any], payment: Any, name: str = "payment") -> Answer:
        return self.send(payment_submitted(required["meta"]["jobId"], payment, name))


def price_of(required: dict[str, Any]) -> int:
    return int(required["payload"]["accepts"][0]["maxAmountRequired"])
