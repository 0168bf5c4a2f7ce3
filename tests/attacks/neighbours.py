"""Stand-ins for quote and executor: prices as scripted, runs counted."""

import json
import secrets
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.support.standin import Answer, Script, StandIn

PRICE_ATOMIC = 1_200
FEE_ATOMIC = 5_000


@dataclass
class QuoteService(StandIn):
    """One provider, at `price_atomic`; with a `refusal` it takes no work. `on_quote` replaces the answer."""

    price_atomic: int = PRICE_ATOMIC
    on_quote: Script | None = None
    refusal: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__init__()

    def be_honest(self) -> None:
        self.price_atomic, self.on_quote, self.refusal = PRICE_ATOMIC, None, None

    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        if method == "POST" and path.startswith("/quote/"):
            scripted = self.on_quote(json.loads(body)) if self.on_quote else None
            return scripted or Answer.of(quote_list(self.price_atomic, self.refusal))
        if path == "/providers":
            row = {"name": "local", "kind": "compute", "status": "available", "refusal": self.refusal}
            return Answer.of({"providers": [row], "count": 1})
        return Answer.of({"status": "ok"})


def quote_list(price_atomic: Any, refusal: dict[str, Any] | None = None) -> dict[str, Any]:
    """What quote answers when `local` asks `price_atomic`, and takes the work or not."""
    quote = {
        "provider": "local",
        "kind": "compute",
        "price_usd": "0.0012",
        "price_atomic": price_atomic,
        "network": "base-sepolia",
        "valid_until": "2099-01-01T00:00:00.000Z",
        "executable": refusal is None,
        "refusal": refusal,
    }
    best = quote if refusal is None else None
    return {"quotes": [quote], "best": best, "count": 1, "declined": []}


@dataclass
class Executor(StandIn):
    """Counts `runs` by code and `calls` by job id. `on_file` is what it says to `GET /files/…`.

    A run takes `run_s`, and does not end before `run_until` is set.

    As the real one does, it keeps each job's result and runs no job twice.
    """

    runs: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    kept: dict[str, Any] = field(default_factory=dict)
    on_execute: Script | None = None
    on_file: Script | None = None
    run_s: float = 0.0
    run_until: threading.Event | None = None
    began: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__()

    def be_honest(self) -> None:
        self.on_execute, self.on_file, self.run_s, self.run_until = None, None, 0.0, None
        self.began.clear()

    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        if path.startswith("/files/") and self.on_file is not None:
            return self.on_file(path) or Answer()
        if (method, path) != ("POST", "/execute"):
            return Answer.of({"providers": [{"name": "local", "kind": "compute", "healthy": True}]})
        task = json.loads(body)
        self.calls[task["jobId"]] += 1
        if task["jobId"] not in self.kept:
            self.runs[task["code"]] += 1
            self.kept[task["jobId"]] = result_of(task)
            self.began.set()
        scripted = self.on_execute(task) if self.on_execute else None
        if scripted is not None:
            if scripted.status != 200 or scripted.dropped:
                del self.kept[task["jobId"]]
            return scripted
        done = {"jobId": task["jobId"], "status": "completed", "result": self.kept[task["jobId"]]}
        return Answer.of(done, delay_s=self.run_s, until=self.run_until)


def result_of(task: dict[str, Any]) -> dict[str, Any]:
    """A run's result; its output is different for every run."""
    return {
        "stdout": f"secret {secrets.token_hex(16)}\n",
        "stderr": "",
        "exitCode": 0,
        "executionTime": 1,
        "isolation": "none",
        "language": task["language"],
        "version": "3.11",
    }
