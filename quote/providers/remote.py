"""Sellers elsewhere: a price that is read from their own 402, before anybody pays them."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, Generic

from pydantic_core import from_json
from x402.http.constants import PAYMENT_SIGNATURE_HEADER, X_PAYMENT_HEADER

from quote.capabilities import Needs
from quote.outside import Heard
from quote.providers.base import AskT, Context, Failed, Price
from quote.terms import Terms, Way, money_refusal, read_terms
from shared.networks import money_of
from shared.quotes import Kind, Refusal

LEFT_OUT = "REMOTE_PROVIDERS leaves it out"
MAX_DIGITS = 40
"""Of a figure in dollars."""


@dataclass(frozen=True)
class Probe:
    """A request that is answered with a price. It has nothing of a customer's; `key` names what it asks."""

    key: str
    method: str
    url: str
    body: Any = None


@dataclass(frozen=True)
class Call:
    """How to buy from a provider without us: `body` has placeholders, `then` is what follows the answer."""

    method: str
    url: str
    body: Any
    content_type: str = "application/json"
    then: str | None = None

    def instructions(self, terms: Terms) -> dict[str, Any]:
        """What stands in a quote as `x402_instructions`."""
        payment = X_PAYMENT_HEADER if terms.x402_version == 1 else PAYMENT_SIGNATURE_HEADER
        told = {
            "x402Version": terms.x402_version,
            "method": self.method,
            "url": self.url,
            "headers": {"Content-Type": self.content_type, payment: "<your payment>"},
            "body": self.body,
            "accepts": [way.entry for way in terms.ways if way.entry is not None],
        }
        return told if self.then is None else {**told, "then": self.then}


class RemoteProvider(ABC, Generic[AskT]):
    """A seller somewhere else, unless the settings leave it out."""

    name: str
    kind: Kind

    def __init__(self, context: Context) -> None:
        self.settings = context.settings
        self.capabilities = context.capabilities
        self.market = context.market
        self.outside = context.outside
        self.disabled = None if self.name in context.settings.remote_providers else LEFT_OUT

    @abstractmethod
    async def prices(self, ask: AskT) -> Sequence[Price]:
        """The prices of `ask`. Raises `Decline`, or `Failed` when its answer is no price."""


class X402Provider(RemoteProvider[AskT]):
    """A seller whose price stands in its 402. It is paid ahead of its work, and so are we."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._home = money_of(context.settings.x402_network)

    async def prices(self, ask: AskT) -> Sequence[Price]:
        probe = self.probe(ask)
        terms = Terms.of_json(await self.market.ask(self.name, probe.key, partial(self._ask, probe)))
        capability = await self.capabilities.of(self.kind, self.name)
        way = terms.choose(capability.networks, self._home)
        needs = replace(self.needs(ask), price_atomic=way.price_atomic, network=way.network)
        price = Price(
            way.price_atomic,
            self.refusal(ask) or money_refusal(way, self._home) or capability.refusal(needs),
            self.metadata(ask),
            settle="before",
            network=way.network,
            recipient=way.pay_to,
            x402_instructions=self.call(ask).instructions(terms),
            extras=self.extras(way),
        )
        return [price]

    @abstractmethod
    def probe(self, ask: AskT) -> Probe:
        """What to ask it. Raises `Decline` for what it does not sell."""

    @abstractmethod
    def call(self, ask: AskT) -> Call:
        """How a customer would buy this there."""

    @abstractmethod
    def metadata(self, ask: AskT) -> dict[str, Any]:
        """What the price covers."""

    def needs(self, ask: AskT) -> Needs:
        """What `ask` wants of the executor, besides being paid for."""
        return Needs()

    def refusal(self, ask: AskT) -> Refusal | None:
        """Why its price is shown but not sold."""
        return None

    def extras(self, way: Way) -> dict[str, Any]:
        """The provider's own fields of a quote."""
        return {}

    async def _ask(self, probe: Probe) -> dict[str, Any]:
        heard = await self.outside.ask(probe.method, probe.url, json=probe.body)
        return read_terms(heard).as_json()


def read_json(heard: Heard) -> Any:
    """The JSON of a plain answer; its numbers are `int` and `Decimal`. Raises `Failed`."""
    if heard.status != 200:
        raise Failed(f"answered {heard.status} where a price was expected")
    try:
        # Bounds the depth, which json leaves to Python's recursion limit.
        from_json(heard.body, allow_inf_nan=False)
        return json.loads(heard.body, parse_float=Decimal)
    except (ValueError, InvalidOperation):
        raise Failed("its answer is not JSON") from None


def positive_usd(value: Any) -> Decimal | None:
    """A dollar figure of `read_json`, or None for what is none or beyond all sense."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    figure = Decimal(value)
    sensible = Decimal("1e-9") <= figure <= 10**9 and len(figure.as_tuple().digits) <= MAX_DIGITS
    return figure if sensible else None
