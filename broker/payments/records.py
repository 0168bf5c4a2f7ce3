"""What the ledger's rows look like in the program. Amounts are atomic units, times Unix milliseconds."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row

from broker.payments.offers import Offer
from shared.errors import GalaksioError
from shared.jobs import JobStatus

State = Literal["reserved", "running", "ran", "settling", "settled", "voided", "rejected", "unknown"]
IN_FLIGHT: tuple[State, ...] = ("reserved", "running", "ran", "settling")
"""States in which some broker works on the payment."""
CAME_TO_NOTHING: tuple[State, ...] = ("voided", "rejected")
"""States in which no money has moved and none will."""
EXPOSED: tuple[State, ...] = (*IN_FLIGHT, "unknown")
"""States in which the payer's money may yet move."""


class LedgerError(Exception):
    """A transition that the state machine does not allow, or a row that is another broker's by now."""


class TooManyInFlight(GalaksioError):
    """One payer's authorizations in flight add up to more than the cap."""

    status = 429
    code = "too_many_in_flight"
    retryable = True

    def __init__(self) -> None:
        super().__init__(
            "too much of this wallet's money is in flight here: wait for the running jobs", retry_after_s=5
        )


@dataclass(frozen=True)
class PaymentRow:
    """One authorization in the ledger; addresses, nonce and hashes in lower case.

    `settle` is `after` or `before` the work; `valid_before` is Unix seconds; `attempts` counts how often its
    outcome was found unknown; `payload` and `requirements` are what the facilitator is asked with.
    """

    id: str
    job_id: str
    request_hash: str
    offer_id: str
    state: State
    settle: Literal["after", "before"]
    owner: str
    attempts: int
    payer: str
    nonce: str
    amount_atomic: int
    valid_before: int
    x402_version: int
    payload: dict[str, Any]
    requirements: dict[str, Any]
    transaction_hash: str | None
    reason: str | None
    created_at: int


@dataclass(frozen=True)
class JobRow:
    """One job. `task` is what the executor is told, kept only until the job has ended.

    The result stands in `response`, or in the file `response_file` when it is large, until `expired_at_ms`.
    """

    id: str
    operation: str
    requester: str
    label: str | None
    provider: str
    status: JobStatus
    quote: dict[str, Any]
    task: dict[str, Any] | None
    time_limit_ms: int
    response: str | None
    response_file: str | None
    response_hash: str | None
    error: str | None
    created_at_ms: int
    updated_at_ms: int
    expired_at_ms: int | None = None

    @property
    def has_result(self) -> bool:
        kept = self.response is not None or self.response_file is not None
        return kept and self.expired_at_ms is None


@dataclass(frozen=True)
class Standing:
    """What is open in the ledger: payments by state, and what is owed back, in atomic units."""

    open: dict[str, int]
    owed_atomic: int


@dataclass(frozen=True)
class Reservation:
    """A payment that was claimed, and the job it pays for."""

    payment: PaymentRow
    job: JobRow


@dataclass(frozen=True)
class NewJob:
    """What is written down when a job begins. `label` is the caller's own `x-wallet`, never an identity."""

    operation: str
    request_hash: str
    offer: Offer
    requester: str
    task: dict[str, Any]
    time_limit_ms: int
    label: str | None = None


@dataclass(frozen=True)
class KeptResult:
    """A result made durable: the JSON text, or the name of the file it was spooled to; SHA-256 in hex."""

    text: str | None
    file: str | None
    sha256: str

    def columns(self) -> dict[str, Any]:
        return {"response": self.text, "response_file": self.file, "response_hash": self.sha256}


def read_payment_row(row: Row[Any]) -> PaymentRow:
    plain = {name: getattr(row, name) for name in PaymentRow.__dataclass_fields__}
    plain["payload"], plain["requirements"] = json.loads(row.payload), json.loads(row.requirements)
    return PaymentRow(**plain)


def read_job(row: Row[Any]) -> JobRow:
    return JobRow(
        id=row.id,
        operation=row.operation,
        requester=row.requester,
        label=row.label,
        provider=row.provider,
        status=row.status,
        quote=json.loads(row.quote),
        task=None if row.task is None else json.loads(row.task),
        time_limit_ms=row.time_limit_ms,
        response=row.response,
        response_file=row.response_file,
        response_hash=row.response_hash,
        error=row.error,
        created_at_ms=row.created_at,
        updated_at_ms=row.updated_at,
        expired_at_ms=row.expired_at,
    )
