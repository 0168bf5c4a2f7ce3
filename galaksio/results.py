"""What the calls return, typed. The fields are those of `docs/` in snake_case; unknown ones are left out."""

from decimal import Decimal
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from galaksio.connection import Reply
from galaksio.errors import BadAnswer
from galaksio.paying import Bought
from galaksio.prices import usd
from shared.caches.wire import CacheCreated, CacheToppedUp
from shared.jobs import JobStatus, RunResult, Wire
from shared.money import usd_to_atomic
from shared.quotes import QuoteList
from shared.store import StoreResult

ModelT = TypeVar("ModelT", bound=BaseModel)
SoldT = TypeVar("SoldT", bound="Sold")


class Receipt(Wire):
    """That a payment was settled: its `transaction` on `network`, and who paid."""

    success: bool
    transaction: str
    network: str
    payer: str | None = None


class Sold(Wire):
    """What every purchase has. `price_usd` is 0 and `receipt` None for what was free of charge."""

    job_id: str
    provider: str
    price_usd: Decimal
    receipt: Receipt | None


class Run(RunResult, Sold):
    """What a run printed and how it ended. `exit_code` is None when a signal ended it, times are ms."""


class Stored(StoreResult, Sold):
    """Content that is kept under `cid` until `expires_at` (ISO 8601; None: for good)."""


class BoughtCache(CacheCreated, Sold):
    """A new cache: its address and the token that opens it."""

    endpoint: str
    token: str = Field(repr=False)


class ToppedUp(CacheToppedUp, Sold):
    """More operations: `operations` are left now, `added` of them new."""


class Comparison(QuoteList):
    """Prices by provider, without the broker's fee. `best` is what would be bought, None if nothing."""


class JobPayment(Wire):
    """What the payment of a job has come to."""

    state: str
    amount_atomic: str
    amount_usd: Decimal
    network: str
    transaction: str | None
    reason: str | None


class Job(Wire):
    """A job as the broker shows it; `result` is its JSON once it is completed."""

    id: str
    requester: str
    provider: str
    status: JobStatus
    result: Any
    error: str | None
    created_at: str
    updated_at: str
    payment: JobPayment | None


class Payment(Wire):
    """A payment of this wallet; `receipt_valid` is None where there is no receipt (yet).

    A receipt is valid when the broker's published key signed it, and it says the same as the payment.
    """

    model_config = ConfigDict(extra="ignore")

    id: str
    job_id: str
    created_at: str
    operation: str | None
    amount_atomic: str
    amount_usd: str
    state: str
    payer: str
    request_hash: str
    transaction: str | None
    receipt: dict[str, Any] | None
    refund: dict[str, Any] | None
    receipt_valid: bool | None = None


def read(model: type[ModelT], reply: Reply) -> ModelT:
    """The answer as `model`. Raises `BadAnswer`."""
    return _validated(model, reply.json(), reply)


def read_sold(model: type[SoldT], bought: Bought) -> SoldT:
    """What was bought, with its price and receipt. Raises `BadAnswer`."""
    body = bought.reply.fields()
    result = body.get("result")
    if body.get("status") == "instructions_provided":
        raise BadAnswer(
            "This broker sells no work but instructions for buying it elsewhere: `job(…)` has them.",
            bought.reply.said(),
        )
    fields = {
        **(result if isinstance(result, dict) else {}),
        "jobId": body.get("jobId"),
        "provider": body.get("provider"),
        "priceUsd": _price(bought, body.get("price_usd")),
        "receipt": receipt_of(bought.reply),
    }
    return _validated(model, fields, bought.reply)


def receipt_of(reply: Reply) -> Receipt | None:
    """The receipt in the headers of an answer; None where there is none that can be read."""
    from x402.http.utils import safe_base64_decode

    header = reply.headers.get("payment-response") or reply.headers.get("x-payment-response")
    try:
        return Receipt.model_validate_json(safe_base64_decode(header)) if header else None
    except ValueError:
        return None


def _price(bought: Bought, told: Any) -> Decimal:
    """What it cost, as the broker says, and never more than what was signed."""
    signed = bought.paid.price_atomic if bought.paid is not None else 0
    try:
        return usd(min(usd_to_atomic(told), signed))
    except (ValueError, TypeError):
        return usd(signed)


def _validated(model: type[ModelT], fields: Any, reply: Reply) -> ModelT:
    try:
        return model.model_validate(fields)
    except ValidationError as exc:
        where = ".".join(str(part) for part in exc.errors()[0]["loc"])[:100]
        message = f"The broker's answer was not understood: {where or 'no object'}."
        raise BadAnswer(message, reply.said()) from None
