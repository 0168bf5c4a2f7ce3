"""What can go wrong, told by what it means for the money.

Error
├── NotPaid             nothing was signed
│   ├── PriceTooHigh    the price is over a cap or over what is left of the budget
│   └── TermsRefused    another network, asset or recipient than agreed, or no wallet to pay with
├── PaymentRefused      the broker did not take a payment that was signed; no work was handed out
├── RefundOwed          paid, and the provider failed: the broker owes it back
├── OutcomeUnknown      a payment was sent and its outcome is not known: do not pay again blindly
├── Unreachable         no answer, and nothing was signed for this request
├── RequestRefused      any other refusal
├── BadAnswer           an answer that is none of a Galaksio broker
└── Unreadable          the content to be stored cannot be read as it was measured
"""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Said:
    """What the broker said of it; None where it did not. `code` is stable, `status` is HTTP's."""

    status: int | None = None
    code: str | None = None
    request_id: str | None = None
    job_id: str | None = None
    retry_after_s: int | None = None


class Error(Exception):
    """Any failure of the client; the text is one sentence for people.

    `status`, `code`, `request_id`, `job_id` and `retry_after_s` are the broker's, None where it said none.
    """

    retryable = False
    """Whether the same call may work later."""

    def __init__(self, message: str, said: Said = Said()) -> None:
        super().__init__(message)
        self.message = message
        self.status = said.status
        self.code = said.code
        self.request_id = said.request_id
        self.job_id = said.job_id
        self.retry_after_s = said.retry_after_s


class NotPaid(Error):
    """The price was named and not paid: nothing was signed."""


class PriceTooHigh(NotPaid):
    """`price_usd` is over `limit_usd`: the cap of this call, or (`of_budget`) what is left of the budget."""

    def __init__(self, price_usd: Decimal, limit_usd: Decimal, *, of_budget: bool) -> None:
        what = (
            f"the ${limit_usd} that are left of your budget (budget_usd)"
            if of_budget
            else f"your cap of ${limit_usd} (max_cost_usd)"
        )
        super().__init__(f"The price ${price_usd} is over {what}: nothing was signed.")
        self.price_usd = price_usd
        self.limit_usd = limit_usd
        self.of_budget = of_budget


class TermsRefused(NotPaid):
    """What the broker wants is not what this client pays: network, asset, recipient, scheme or time."""


class PaymentRefused(Error):
    """The broker answered a signed payment with another 402: it was not taken, says the broker.

    `payment_id` is the payment's, where the broker takes one. Another call signs another payment.
    """

    def __init__(self, message: str, said: Said, payment_id: str | None) -> None:
        super().__init__(message, said)
        self.payment_id = payment_id


class RefundOwed(Error):
    """The payment was settled ahead and the provider failed. `refund_usd` is owed back by the broker."""

    def __init__(
        self, message: str, said: Said, refund_usd: Decimal | None, refund_state: str | None
    ) -> None:
        super().__init__(message, said)
        self.refund_usd = refund_usd
        self.refund_state = refund_state


class OutcomeUnknown(Error):
    """A payment was sent, as often as is sensible, and nobody said what became of it.

    The same call with this `payment_id` is not charged twice; without one, look at `payments()` first.
    """

    retryable = True

    def __init__(self, message: str, said: Said, payment_id: str | None) -> None:
        super().__init__(message, said)
        self.payment_id = payment_id


class Unreachable(Error):
    """The broker does not answer. Nothing was signed for this request. `why` names what happened."""

    retryable = True

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{url} does not answer ({why}): is the broker running?")
        self.why = why


class RequestRefused(Error):
    """The broker refused the request; `reason` is its own text. After a payment, it says it was not taken."""

    def __init__(self, reason: str, said: Said) -> None:
        super().__init__(f"The broker answered {said.status}: {reason}.", said)
        self.reason = reason
        self.retryable = said.status in {429, 502, 503, 504}


class BadAnswer(Error):
    """The answer cannot be understood, or is too large to be read."""


class Unreadable(Error):
    """The content to be stored became another while it was sent, or cannot be read any more."""
