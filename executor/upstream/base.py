"""How providers ask other people's servers, and what may be paid for it (providers.md, Paying upstream)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Spending:
    """For whom money may move. `limit_atomic` bounds all that the job spends, at all providers together.

    In 10^-6 USD; None: as much as the host allows for one call. `before_paying` is asked before anything new
    is paid, and raises where nothing should be; what was paid before is sent again without it.
    """

    job_id: str
    provider: str
    limit_atomic: int | None
    before_paying: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class FilePart:
    """A file as one field of a multipart body, read from this machine's disk while it is sent."""

    field: str
    path: Path
    name: str
    content_type: str


@dataclass(frozen=True)
class Order:
    """One request to a provider.

    `step` names it within its job: the same step of the same job is paid once, with one authorization that is
    sent again as it is. `repeatable` says that the request itself may be sent again although nobody knows
    whether it arrived. A body is `json`, or `file` with `fields`; `max_bytes` bounds the answer.
    """

    method: str
    url: str
    step: str = "work"
    json: Any = None
    file: FilePart | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 30.0
    max_bytes: int = 1024 * 1024
    repeatable: bool = False


@dataclass(frozen=True)
class Receipt:
    """What was paid. `transaction` is None where the provider did not name it."""

    amount_atomic: int
    network: str
    pay_to: str
    transaction: str | None
    x402_version: int


@dataclass(frozen=True)
class Answer:
    """A provider's answer, read whole; header names are in lower case.

    `receipt` is None if nothing was paid.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    receipt: Receipt | None = None

    def json(self) -> Any:
        """Raises `ValueError` for what is not JSON."""
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("too deeply nested") from None


@dataclass(frozen=True)
class Means:
    """What can be paid with. `reason` says why nothing can be paid, or None; `networks` None is any.

    `chain_answers`: whether what the wallet holds is known; None where no chain is asked. `payer`: the wallet
    that pays, where its key is here.
    """

    reason: str | None
    networks: list[str] | None
    spendable_atomic: int
    sends_files: bool
    chain_answers: bool | None = None
    payer: str | None = None


class Upstream(Protocol):
    """Asks providers, and pays their 402s within all limits."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def means(self) -> Means: ...

    def spent(self) -> Mapping[str, int]:
        """What was paid since the start, by provider, in 10^-6 USD."""

    async def send(self, order: Order, spending: Spending) -> Answer:
        """The provider's answer, a 402 paid if there was one; its status is the caller's to judge.

        Raises the errors of `executor/upstream/errors.py`.
        """
