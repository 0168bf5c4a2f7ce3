"""Which of the ways to pay that a 402 names is one of ours: x402 v2, EIP-3009, our network and its dollar."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from galaksio.errors import TermsRefused
from galaksio.prices import Price
from shared.challenges import ChallengeError, Wanted, read_challenge
from shared.networks import Network

EIP_3009 = "eip3009"
PAYMENT_IDENTIFIER = "payment-identifier"
"""The only x402 extension that is used. The package's own module for it needs jsonschema."""
LONGEST_VALID_S = 3600
"""A signature that could be cashed for longer than that is not made."""


@dataclass(frozen=True)
class Agreed:
    """What will be signed: one `entry` of the challenge, as it came, and what is echoed with it."""

    price: Price
    entry: dict[str, Any]
    resource: Any
    identifier: dict[str, Any] | None

    @property
    def takes_id(self) -> bool:
        """Whether the broker keeps payments apart by an id of ours."""
        return self.identifier is not None

    def required(self, payment_id: str | None) -> dict[str, Any]:
        """The challenge with this one way to pay, and our id filled in."""
        required = {"x402Version": 2, "accepts": [self.entry], "resource": self.resource}
        if self.identifier is None:
            return required
        named = {**self.identifier, "info": {**self.identifier["info"], "id": payment_id}}
        return {**required, "extensions": {PAYMENT_IDENTIFIER: named}}


def acceptable(headers: Mapping[str, str], content: bytes, network: Network) -> Agreed:
    """The cheapest of the ways to pay that is one of ours. Raises `TermsRefused`."""
    try:
        challenge = read_challenge(402, headers, content)
    except ChallengeError as exc:
        raise TermsRefused(f"The broker's price cannot be paid: {exc}.") from None
    reasons: list[str] = []
    for wanted in challenge.accepts:
        if (wrong := _wrong_with(wanted, network)) is None:
            price = Price(wanted.amount, network.name, wanted.pay_to)
            document = challenge.document
            return Agreed(price, wanted.entry, document.get("resource"), _identifier(document))
        reasons.append(wrong)
    raise TermsRefused(reasons[0])


def _wrong_with(wanted: Wanted, network: Network) -> str | None:
    extra = wanted.entry.get("extra")
    extra = extra if isinstance(extra, dict) else {}
    if wanted.network != network.caip2 or wanted.asset.lower() != network.asset.lower():
        return (
            f"The broker asks for a payment on {wanted.network} in {wanted.asset}; "
            f"you pay USDC on {network.name} only."
        )
    if wanted.x402_version != 2 or extra.get("assetTransferMethod", EIP_3009) != EIP_3009:
        return "The broker asks for another kind of payment than EIP-3009 by x402 v2."
    if (extra.get("name"), extra.get("version")) != (network.domain_name, network.domain_version):
        return "The broker asks for a signature under another name than the dollar token's."
    if wanted.max_timeout_s > LONGEST_VALID_S:
        return f"The broker wants a signature that is good for over {LONGEST_VALID_S} s."
    return None


def _identifier(document: dict[str, Any]) -> dict[str, Any] | None:
    """The extension `payment-identifier`, where it is declared as it should be."""
    declared = document.get("extensions")
    found = declared.get(PAYMENT_IDENTIFIER) if isinstance(declared, dict) else None
    usable = isinstance(found, dict) and isinstance(found.get("info"), dict)
    return found if usable else None
