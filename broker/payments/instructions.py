"""Telling a customer how to buy the work from its provider (api.md, mode `instructions`)."""

from typing import Any

from shared.money import atomic_to_usd

Quoted = dict[str, Any]
"""A quote as it is kept with an offer and its job (`broker/payments/choice.py`)."""


def is_instructed(quote: Quoted) -> bool:
    """Whether advice was sold, and nothing is done."""
    return quote.get("fulfilment") == "instructions"


def instructed(job_id: str, operation: str, quote: Quoted, paid_atomic: int) -> dict[str, object]:
    """The answer: where to send the work, and what the provider wants for it.

    `price_usd` is the provider's price, to be paid to it; `fee_usd` is what was paid here. For stored content
    `allQuotes` compares all providers.
    """
    answer: dict[str, Any] = {
        "jobId": job_id,
        "status": "instructions_provided",
        "instructions": {
            "summary": (
                f"Send the work to {quote['provider']} yourself: make the request below with your own "
                "content, and pay the 402 it answers with by x402."
            ),
            "request": quote["x402_instructions"],
            "recipient": quote.get("recipient"),
            "network": quote.get("network"),
            "validUntil": quote.get("valid_until"),
        },
        "provider": quote["provider"],
        "price_usd": quote["price_usd"],
        "fee_usd": atomic_to_usd(paid_atomic),
        "metadata": quote.get("metadata", {}),
    }
    if operation == "store":
        answer["allQuotes"] = quote.get("all_quotes", [])
    return answer
