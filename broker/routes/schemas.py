"""Answers and OpenAPI parts that the broker's routes share."""

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from shared.jobs import JobStatus

ResultT = TypeVar("ResultT")


class Completed(BaseModel, Generic[ResultT]):
    """A paid success. `price_usd` is what was paid, as a decimal string."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    job_id: str = Field(alias="jobId")
    status: Literal["completed"] = "completed"
    provider: str
    price_usd: str
    result: ResultT


class ErrorBody(BaseModel):
    """Every error of every service."""

    error: str
    success: Literal[False]
    message: str
    detail: str
    code: str
    requestId: str


class PaymentRequiredBody(ErrorBody):
    """The v1 challenge; v2 stands in the PAYMENT-REQUIRED header."""

    x402Version: Literal[1]
    accepts: list[dict[str, Any]]


class Pending(BaseModel):
    """The outcome is not known yet: ask `Location`, do not pay again."""

    jobId: str
    status: JobStatus
    message: str


class PaymentView(BaseModel):
    """What a job's payment has come to. `amount_atomic` is 10^-6 USD."""

    state: str
    amount_atomic: str
    amount_usd: str
    network: str
    transaction: str | None
    reason: str | None


class JobView(BaseModel):
    """A job as `GET /status/{id}` shows it. `result` is given once the job is completed.

    `id` is what was asked for, `jobId` the job's own: an agent's task has one once it is paid. Until then it
    has no `requester` either.
    """

    id: str
    jobId: str | None
    requester: str | None
    provider: str
    status: JobStatus
    quote: dict[str, Any]
    result: Any
    error: str | None
    createdAt: str
    updatedAt: str
    payment: PaymentView | None


ERRORS: dict[int | str, dict[str, Any]] = {
    202: {"model": Pending, "description": "The outcome of the payment is not known yet"},
    400: {"model": ErrorBody, "description": "Malformed request or payment header, or never done here"},
    402: {"model": PaymentRequiredBody, "description": "Pay this, then send the same request again"},
    409: {"model": ErrorBody, "description": "The authorization was used for another request"},
    413: {"model": ErrorBody, "description": "Body over 10 MB"},
    422: {"model": ErrorBody, "description": "The code cannot be run (it contains a NUL byte)"},
    431: {"model": ErrorBody, "description": "Payment header over 16 KB"},
    503: {
        "model": ErrorBody,
        "description": "Facilitator, quote or executor down, or the executor full; nothing was charged",
        "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait"}},
    },
}

PAYMENT_HEADERS: list[dict[str, Any]] = [
    {
        "name": name,
        "in": "header",
        "required": False,
        "description": f"x402 {version} payment, base64 of JSON",
        "schema": {"type": "string"},
    }
    for name, version in (("X-PAYMENT", "v1"), ("PAYMENT-SIGNATURE", "v2"))
]
