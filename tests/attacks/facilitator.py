"""A facilitator that keeps honest books, and says whatever a test tells it to say."""

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from eth_utils.crypto import keccak

from tests.support.standin import Answer, Script, StandIn

KINDS = [
    {"x402Version": 1, "scheme": "exact", "network": "base-sepolia"},
    {"x402Version": 2, "scheme": "exact", "network": "eip155:84532"},
]
USED = "0x" + keccak(text="AuthorizationUsed(address,bytes32)").hex()


@dataclass(frozen=True)
class Asked:
    """One question of the broker's. `path` is `/verify` or `/settle`; addresses in lower case."""

    path: str
    body: dict[str, Any]

    @property
    def authorization(self) -> dict[str, str]:
        found: dict[str, str] = self.body["paymentPayload"]["payload"]["authorization"]
        return found

    @property
    def payer(self) -> str:
        return self.authorization["from"].lower()

    @property
    def nonce(self) -> str:
        return self.authorization["nonce"].lower()

    @property
    def value(self) -> int:
        return int(self.authorization["value"])

    @property
    def network(self) -> str:
        return str(self.body["paymentRequirements"]["network"])


@dataclass
class Facilitator(StandIn):
    """Moves money like the token does: once for each (payer, nonce), and never more than the payer has.

    `on_verify` and `on_settle` replace an answer where they give one; `transfers` is what really moved. At
    `/yes/{network}` it says yes to everything, and counts who `followed` a redirect there.
    """

    asked: list[Asked] = field(default_factory=list)
    transfers: dict[tuple[str, str], int] = field(default_factory=dict)
    funds: dict[str, int] = field(default_factory=dict)
    cancelled: set[tuple[str, str]] = field(default_factory=set)
    on_verify: Script | None = None
    on_settle: Script | None = None
    followed: int = 0
    settle_began: threading.Event = field(default_factory=threading.Event)
    verify_began: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__()

    def be_honest(self) -> None:
        self.on_verify = self.on_settle = None
        self.settle_began.clear()
        self.verify_began.clear()

    def settles(self, payer: str) -> int:
        """How often the broker asked for a settlement of this payer's money."""
        return sum(asked.path == "/settle" and asked.payer == payer.lower() for asked in self.asked)

    def verifies(self, payer: str) -> int:
        return sum(asked.path == "/verify" and asked.payer == payer.lower() for asked in self.asked)

    def moved(self, payer: str) -> list[int]:
        """The amounts that left this payer's wallet, in atomic units."""
        return [value for (owner, _), value in self.transfers.items() if owner == payer.lower()]

    def settle(self, asked: Asked) -> Answer:
        """The honest settlement."""
        key = (asked.payer, asked.nonce)
        if key in self.transfers:
            return self._refusal(asked, "authorization_already_used")
        if asked.value > self.funds.get(asked.payer, 10**12) - sum(self.moved(asked.payer)):
            return self._refusal(asked, "insufficient_funds")
        self.transfers[key] = asked.value
        return Answer.of(success_of(asked))

    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        if path.startswith("/yes/"):
            self.followed += 1
            return Answer.of(
                {"isValid": True, "success": True, "transaction": "0x" + "ab" * 32, "network": path[5:]}
            )
        if path == "/rpc":
            question = json.loads(body)
            return Answer.of({"jsonrpc": "2.0", "id": question["id"], "result": self._chain(question)})
        if method == "POST" and path in {"/verify", "/settle"}:
            asked = Asked(path, json.loads(body))
            self.asked.append(asked)
            return self._answer_asked(asked)
        return Answer.of({"kinds": KINDS, "extensions": [], "signers": {}})

    def _answer_asked(self, asked: Asked) -> Answer:
        verify = asked.path == "/verify"
        (self.verify_began if verify else self.settle_began).set()
        script = self.on_verify if verify else self.on_settle
        scripted = script(asked) if script is not None else None
        if scripted is not None:
            return scripted
        if not verify:
            return self.settle(asked)
        enough = asked.value <= self.funds.get(asked.payer, 10**12)
        reason = {} if enough else {"invalidReason": "insufficient_funds"}
        return Answer.of({"isValid": enough, "payer": asked.payer, **reason})

    def _chain(self, question: dict[str, Any]) -> Any:
        """What the chain says: which authorizations are used or cancelled, and in which transaction."""
        method, params = question["method"], question["params"]
        if method == "eth_call":
            words = params[0]["data"][10:]
            key = ("0x" + words[24:64], "0x" + words[64:128])
            return f"0x{int(key in self.transfers or key in self.cancelled):064x}"
        if method == "eth_getLogs":
            event, payer, nonce = params[0]["topics"]
            key = ("0x" + payer[26:], nonce)
            found = key in (self.transfers if event == USED else self.cancelled)
            return [log_of(key, params[0]["topics"])] if found else []
        if method == "eth_getBlockByNumber":
            return {"number": hex(100), "timestamp": hex(int(time.time()))}
        return {"eth_chainId": hex(84532), "eth_blockNumber": hex(100)}[method]

    @staticmethod
    def _refusal(asked: Asked, reason: str) -> Answer:
        return Answer.of(
            {
                "success": False,
                "errorReason": reason,
                "transaction": "",
                "network": asked.network,
                "payer": asked.payer,
            }
        )


def success_of(asked: Asked, **changes: Any) -> dict[str, Any]:
    """The body of a successful settlement; `changes` are the lies in it."""
    return {
        "success": True,
        "transaction": transaction_of((asked.payer, asked.nonce)),
        "network": asked.network,
        "payer": asked.payer,
        **changes,
    }


def transaction_of(key: tuple[str, str]) -> str:
    """The hash under which a payer's nonce was spent."""
    return "0x" + hashlib.sha256("".join(key).encode()).hexdigest()


def log_of(key: tuple[str, str], topics: list[str]) -> dict[str, Any]:
    return {
        "address": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "topics": topics,
        "data": "0x",
        "blockNumber": "0x5",
        "blockHash": "0x" + "11" * 32,
        "transactionHash": transaction_of(key),
        "transactionIndex": "0x0",
        "logIndex": "0x0",
        "removed": False,
    }
