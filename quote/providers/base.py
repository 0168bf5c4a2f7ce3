"""What a provider of prices is, and how providers are found."""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, get_args

from quote.asks import Ask
from quote.capabilities import Capabilities, Needs
from quote.settings import QuoteSettings
from shared.quotes import Kind, Refusal


class Decline(Exception):
    """This provider names no price for this ask; the text says why."""


@dataclass(frozen=True)
class Price:
    """A provider's price in atomic units (10^-6 USD), and whether the executor can do the work now.

    With a `refusal` the price is shown but never sold.
    """

    atomic: int
    refusal: Refusal | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What a provider may use."""

    settings: QuoteSettings
    capabilities: Capabilities


class QuoteProvider(Protocol):
    """One seller of one kind of work."""

    name: str
    kind: Kind

    async def price(self, ask: Any) -> Price:
        """The price of `ask`. Raises `Decline` when the provider does not sell that."""


AskT = TypeVar("AskT", bound=Ask)


class EmbeddedProvider(ABC, Generic[AskT]):
    """A seller whose work this host's own executor does, at the price book's prices."""

    name: str
    kind: Kind

    def __init__(self, context: Context) -> None:
        self.settings = context.settings
        self.capabilities = context.capabilities

    async def price(self, ask: AskT) -> Price:
        capability = await self.capabilities.of(self.kind, self.name)
        return Price(self.atomic(ask), capability.refusal(self.needs(ask)), self.metadata(ask))

    def needs(self, ask: AskT) -> Needs:
        """What `ask` wants of the executor."""
        return Needs()

    @abstractmethod
    def atomic(self, ask: AskT) -> int:
        """The price of `ask` in atomic units."""

    @abstractmethod
    def metadata(self, ask: AskT) -> dict[str, Any]:
        """What the price covers."""


def find_providers(context: Context) -> list[QuoteProvider]:
    """Build every provider module under `quote/providers/<kind>/`, in the order of their names."""
    found: list[QuoteProvider] = []
    for kind in get_args(Kind):
        package = importlib.import_module(f"quote.providers.{kind}")
        for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            found.append(module.provider(context))
    return found
