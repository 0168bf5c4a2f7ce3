"""The money: what is signed, for whom, and how much at most. Everything that is paid passes `authorize`.

Amounts are integers of 10^-6 USD. A signature counts against the budget from the moment it is made, for good:
whoever holds it may cash it, whatever they answer.
"""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eth_account import Account
from x402 import x402ClientSync
from x402.extensions.payment_identifier import PAYMENT_IDENTIFIER, append_payment_identifier_to_extensions
from x402.http.x402_http_client import x402HTTPClientSync
from x402.mechanisms.evm.exact.client import ExactEvmScheme
from x402.schemas import PaymentRequired, PaymentRequirements, ResourceInfo

from galaksio.errors import NotPaid, PriceTooHigh, TermsRefused
from galaksio.prices import Price, usd
from shared.challenges import Challenge, ChallengeError, Wanted, read_challenge
from shared.errors import StartupError
from shared.networks import Network, network_named

EIP_3009 = "eip3009"
LONGEST_VALID_S = 3600
"""A signature that could be cashed for longer than that is not made."""

OnPrice = Callable[[Price], bool | None]


@dataclass(frozen=True)
class Authorization:
    """A payment that was signed: its `headers`, the same each time it is sent."""

    headers: dict[str, str] = field(repr=False)
    price_atomic: int
    payment_id: str | None


class Wallet:
    """A key that pays on one network, within a cap a payment and a budget for all of them.

    `pay_to` is the only address it pays; without one, the first that it paid. Safe to use by many threads.
    """

    def __init__(
        self,
        private_key: str,
        network: str,
        *,
        cap_atomic: int,
        budget_atomic: int | None,
        pay_to: str | None,
        on_price: OnPrice | None,
    ) -> None:
        self.account = _account(private_key)
        self.network = _network(network)
        self._cap_atomic = cap_atomic
        self._budget_atomic = budget_atomic
        self._pay_to = pay_to
        self._on_price = on_price
        self._signed_atomic = 0
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        return str(self.account.address)

    @property
    def signed_atomic(self) -> int:
        """What was signed so far, whether or not it was taken."""
        return self._signed_atomic

    def authorize(
        self, headers: Any, content: bytes, cap_atomic: int | None, payment_id: str | None
    ) -> Authorization:
        """Sign what a 402 asks for. Raises `NotPaid` before anything is signed, and then nothing is.

        `cap_atomic` replaces the wallet's own cap; `payment_id` is made up where none is given.
        """
        wanted, challenge = self._acceptable(headers, content)
        offers_id = PAYMENT_IDENTIFIER in _extensions(challenge)
        if payment_id is not None and not offers_id:
            raise TermsRefused("This broker takes no payment_id: the same call again would be paid again.")
        payment_id = (payment_id or f"pay_{secrets.token_hex(16)}") if offers_id else None
        price = Price(wanted.amount, self.network.name, wanted.pay_to)
        self._reserve(price, self._cap_atomic if cap_atomic is None else cap_atomic)
        try:
            if self._on_price is not None and self._on_price(price) is False:
                raise NotPaid(f"The price ${price.usd} was turned down: nothing was signed.")
            signed = self._sign(wanted, challenge, payment_id)
        except BaseException:
            self._release(price)
            raise
        return Authorization(signed, price.atomic, payment_id)

    def _acceptable(self, headers: Any, content: bytes) -> tuple[Wanted, Challenge]:
        """The cheapest of the ways to pay that is one of ours."""
        try:
            challenge = read_challenge(402, headers, content)
        except ChallengeError as exc:
            raise TermsRefused(f"The broker's price cannot be paid: {exc}.") from None
        reasons: list[str] = []
        for wanted in challenge.accepts:
            if (wrong := self._wrong_with(wanted)) is None:
                return wanted, challenge
            reasons.append(wrong)
        raise TermsRefused(reasons[0])

    def _wrong_with(self, wanted: Wanted) -> str | None:
        network = self.network
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

    def _reserve(self, price: Price, cap_atomic: int) -> None:
        with self._lock:
            if self._pay_to is not None and self._pay_to.lower() != price.pay_to.lower():
                raise TermsRefused(
                    f"The broker wants {price.pay_to} to be paid, not {self._pay_to} as before: "
                    "if that is right, use a new client, or name it with pay_to."
                )
            if price.atomic > cap_atomic:
                raise PriceTooHigh(price.usd, usd(cap_atomic), of_budget=False)
            if self._budget_atomic is not None:
                left = self._budget_atomic - self._signed_atomic
                if price.atomic > left:
                    raise PriceTooHigh(price.usd, usd(left), of_budget=True)
            self._signed_atomic += price.atomic
            self._pay_to = price.pay_to

    def _release(self, price: Price) -> None:
        with self._lock:
            self._signed_atomic -= price.atomic

    def _sign(self, wanted: Wanted, challenge: Challenge, payment_id: str | None) -> dict[str, str]:
        extensions = _extensions(challenge)
        if payment_id is not None:
            append_payment_identifier_to_extensions(extensions, payment_id)
        try:
            required = PaymentRequired(
                accepts=[PaymentRequirements.model_validate(wanted.entry)],
                resource=_resource(challenge),
                extensions=extensions or None,
            )
            payer = x402ClientSync()
            payer.register(self.network.caip2, ExactEvmScheme(self.account))
            # The caps are ours and exact; the package's own would refuse with less helpful words.
            payer.set_spend_controls({"max_amount_per_payment": False})
            payload = payer.create_payment_payload(required)
            signed = payload.payload["authorization"]
            encoded = x402HTTPClientSync(payer).encode_payment_signature_header(payload)
        except Exception as exc:  # whatever else the package cannot make a payment of
            raise TermsRefused(f"The payment could not be made ({type(exc).__name__}).") from None
        if (signed["value"], signed["to"].lower()) != (str(wanted.amount), wanted.pay_to.lower()):
            raise TermsRefused("The payment that was made is not the one that was agreed on.")
        return dict(encoded)


def _extensions(challenge: Challenge) -> dict[str, Any]:
    """The one extension that is known here, where it is declared as it should be."""
    declared = challenge.document.get("extensions")
    found = declared.get(PAYMENT_IDENTIFIER) if isinstance(declared, dict) else None
    usable = isinstance(found, dict) and isinstance(found.get("info"), dict)
    return {PAYMENT_IDENTIFIER: found} if usable else {}


def _resource(challenge: Challenge) -> ResourceInfo | None:
    told = challenge.document.get("resource")
    return ResourceInfo.model_validate(told) if isinstance(told, dict) else None


def _account(private_key: str) -> Any:
    digits = private_key.strip().removeprefix("0x")
    try:
        if len(digits) != 64:
            raise ValueError
        return Account.from_key(f"0x{digits}")
    except ValueError:
        raise ValueError("private_key must be 64 hex digits, with or without 0x") from None


def _network(name: str) -> Network:
    try:
        return network_named(name)
    except StartupError as exc:
        raise ValueError(str(exc).replace("X402_NETWORK=", "network=")) from None
