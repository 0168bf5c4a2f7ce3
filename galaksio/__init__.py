"""A client of any Galaksio broker that pays by itself, within its limits.

    import galaksio

    with galaksio.Client(private_key=KEY, base_url="https://broker.example", max_cost_usd="0.05") as client:
        print(client.run("print('hello')").stdout)

`Client` waits for each call, `AsyncClient` is the same for `async`. Every failure is a `galaksio.Error`.
"""

from galaksio.acache import AsyncCache
from galaksio.aclient import AsyncClient
from galaksio.cache import Cache
from galaksio.client import Client
from galaksio.errors import (
    BadAnswer,
    Error,
    NotPaid,
    OutcomeUnknown,
    PaymentRefused,
    PriceTooHigh,
    RefundOwed,
    RequestRefused,
    TermsRefused,
    Unreachable,
    Unreadable,
)
from galaksio.prices import Price
from galaksio.results import BoughtCache, Comparison, Job, Payment, Receipt, Run, Stored, ToppedUp

__all__ = [
    "AsyncCache",
    "AsyncClient",
    "BadAnswer",
    "BoughtCache",
    "Cache",
    "Client",
    "Comparison",
    "Error",
    "Job",
    "NotPaid",
    "OutcomeUnknown",
    "Payment",
    "PaymentRefused",
    "Price",
    "PriceTooHigh",
    "Receipt",
    "RefundOwed",
    "RequestRefused",
    "Run",
    "Stored",
    "TermsRefused",
    "ToppedUp",
    "Unreachable",
    "Unreadable",
]
