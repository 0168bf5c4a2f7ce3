"""Answers and OpenAPI parts that the broker's routes share."""

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from shared.jobs import JobStatus
from shared.openapi import RETRY_AFTER, ErrorBody, Responses, refusals

ResultT = TypeVar("ResultT")


class Completed(BaseModel, Generic[ResultT]):
    """A paid success. `price_usd` is what was paid, as a decimal string."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    job_id: str = Field(alias="jobId")
    status: Literal["completed"] = "completed"
    provider: str
    price_usd: str
    result: ResultT


class Instructed(BaseModel):
    """How to buy the work from its provider, where that is what was asked for (`options.fulfilment`)."""

    jobId: str
    status: Literal["instructions_provided"]
    instructions: dict[str, Any]
    provider: str
    price_usd: str
    fee_usd: str
    metadata: dict[str, Any]
    allQuotes: list[dict[str, Any]] | None = Field(None, exclude_if=lambda value: value is None)


class PaymentRequirement(BaseModel):
    """One way to pay, as x402 v1 spells it. `maxAmountRequired` is 10^-6 USD."""

    scheme: Literal["exact"]
    network: str
    maxAmountRequired: str
    resource: str
    description: str
    mimeType: str
    payTo: str
    maxTimeoutSeconds: int
    asset: str
    extra: dict[str, Any]


class PaymentRequiredBody(ErrorBody):
    """The v1 challenge; v2 stands in the PAYMENT-REQUIRED header."""

    x402Version: Literal[1]
    accepts: list[PaymentRequirement]
    inputSchema: dict[str, Any] | None = Field(None, description="Told where the body was empty")
    example: dict[str, Any] | None = None


class RefundTold(BaseModel):
    """What is owed back to a payer, as a decimal string, or was paid back."""

    state: Literal["owed", "paid"]
    amountUsd: str


class RefundOwedBody(ErrorBody):
    """The money was taken and the work failed. The receipt stands in the header of a success."""

    jobId: str
    refund: RefundTold


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


def _header(description: str, *, required: bool = False) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": {"type": "string"}}


_RECEIPT = "The receipt, base64 of JSON: of a payment in x402 "
RECEIPTS: dict[str, Any] = {
    "PAYMENT-RESPONSE": _header(_RECEIPT + "v2"),
    "X-PAYMENT-RESPONSE": _header(_RECEIPT + "v1"),
}
PAYMENT_REQUIRED: dict[str, Any] = {
    "model": PaymentRequiredBody,
    "description": "Pay this, then send the same request again. A browser gets a page",
    "headers": {
        "PAYMENT-REQUIRED": _header("The same for x402 v2, base64 of JSON", required=True),
        **RECEIPTS,
    },
    "content": {"text/html": {"schema": {"type": "string"}}},
}
PENDING: dict[str, Any] = {
    "model": Pending,
    "description": "The outcome of the payment is not known yet",
    "headers": {"Location": _header("Where the job stands", required=True), **RETRY_AFTER},
}
REFUND_OWED: dict[str, Any] = {
    "model": RefundOwedBody,
    "description": "The provider failed after it was paid: what is owed back is said",
    "headers": RECEIPTS,
}
RESULT_EXPIRED: dict[str, Any] = {
    **refusals({410: "Its result was paid for, and is no longer kept here (RESULTS_KEEP_DAYS)"})[410],
    "headers": RECEIPTS,
}
PAID: Responses = {
    200: {"description": "Paid and done", "headers": RECEIPTS},
    202: PENDING,
    402: PAYMENT_REQUIRED,
    **refusals(
        {
            400: "Malformed request or payment header, or never done here",
            409: "The authorization was used for another request",
            413: "A body over 10 MB, or content over what is taken here",
            429: "Too many requests from this address or wallet, or too much of its money in flight",
            431: "Payment header over 16 KB",
            500: "The result that was paid for cannot be found",
            503: "Facilitator, quote or executor down, or the executor full; nothing was charged",
        }
    ),
    410: RESULT_EXPIRED,
    502: REFUND_OWED,
}
"""What every paid route answers."""
PAYMENT_HEADERS: list[dict[str, Any]] = [
    {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
    }
    for name, description in (
        ("X-PAYMENT", "x402 v1 payment, base64 of JSON"),
        ("PAYMENT-SIGNATURE", "x402 v2 payment, base64 of JSON"),
        ("x-wallet", "A label of the caller's own, kept with the job and never believed"),
    )
]
