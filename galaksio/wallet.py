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
from x402.http.x402_http_client import x402HTTPClientSync
from x402.mechanisms.evm.exact.client import ExactEvmScheme
from x402.schemas import PaymentRequired

from galaksio.errors import NotPaid, PriceTooHigh, TermsRefused
from galaksio.prices import Price, usd
from galaksio.terms import Agreed, acceptable
from shared.errors import StartupError
from shared.networks import Network, network_named

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
        agreed = acceptable(headers, content, self.network)
        if payment_id is not None and not agreed.takes_id:
            raise TermsRefused("This broker takes no payment_id: the same call again would be paid again.")
        payment_id = (payment_id or f"pay_{secrets.token_hex(16)}") if agreed.takes_id else None
        price = agreed.price
        self._reserve(price, self._cap_atomic if cap_atomic is None else cap_atomic)
        try:
            if self._on_price is not None and self._on_price(price) is False:
                raise NotPaid(f"The price ${price.usd} was turned down: nothing was signed.")
            signed = self._sign(agreed, payment_id)
        except BaseException:
            self._release(price)
            raise
        return Authorization(signed, price.atomic, payment_id)

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

    def _sign(self, agreed: Agreed, payment_id: str | None) -> dict[str, str]:
        try:
            payer = x402ClientSync()
            payer.register(self.network.caip2, ExactEvmScheme(self.account))
            # The caps are ours and exact; the package's own would refuse with less helpful words.
            payer.set_spend_controls({"max_amount_per_payment": False})
            payload = payer.create_payment_payload(
                PaymentRequired.model_validate(agreed.required(payment_id))
            )
            signed = payload.payload["authorization"]
            encoded = x402HTTPClientSync(payer).encode_payment_signature_header(payload)
        except Exception as exc:  # whatever else the package cannot make a payment of
            raise TermsRefused(f"The payment could not be made ({type(exc).__name__}).") from None
        if (signed["value"], signed["to"].lower()) != (str(agreed.price.atomic), agreed.price.pay_to.lower()):
            raise TermsRefused("The payment that was made is not the one that was agreed on.")
        return dict(encoded)


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
