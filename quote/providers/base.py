"""What a provider of prices is, and how providers are found."""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, get_args

from quote.asks import Ask
from quote.capabilities import Capabilities, Needs
from quote.settings import QuoteSettings
from shared.quotes import Kind, Refusal

if TYPE_CHECKING:  # they raise what is defined here
    from quote.market import Market
    from quote.outside import Outside


class Decline(Exception):
    """This provider does not sell what is asked for; the text says why. No fault of the provider."""


class Failed(Decline):
    """This provider names no price because something is wrong with it; the text says what."""


class Resting(Decline):
    """It is not asked, because it kept failing. `retry_after_s` is when it will be."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"it keeps failing: it is asked again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Price:
    """A price in atomic units (10^-6 USD), and whether the executor can do the work now.

    With a `refusal` the price is shown but never sold. `seller` is named where it is not the provider itself
    (akash tells what aws would take). `settle` is `before` where the executor pays somebody for the work;
    `recipient` is whom, on `network` (CAIP-2). `x402_instructions` is how to pay without us, `extras` are
    the provider's own fields of a quote.
    """

    atomic: int
    refusal: Refusal | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    seller: str | None = None
    settle: Literal["after", "before"] = "after"
    network: str | None = None
    recipient: str | None = None
    x402_instructions: dict[str, Any] | None = None
    extras: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What a provider may use."""

    settings: QuoteSettings
    capabilities: Capabilities
    market: "Market"
    outside: "Outside"


class QuoteProvider(Protocol):
    """One seller of one kind of work."""

    name: str
    kind: Kind

    disabled: str | None
    """Why it is not asked at all, or None."""

    async def prices(self, ask: Any) -> Sequence[Price]:
        """The prices of `ask`, mostly one. Raises `Decline` when the provider does not sell that."""


AskT = TypeVar("AskT", bound=Ask)


class EmbeddedProvider(ABC, Generic[AskT]):
    """A seller whose work this host's own executor does, at the price book's prices."""

    name: str
    kind: Kind
    disabled: str | None = None

    def __init__(self, context: Context) -> None:
        self.settings = context.settings
        self.capabilities = context.capabilities

    async def prices(self, ask: AskT) -> Sequence[Price]:
        capability = await self.capabilities.of(self.kind, self.name)
        price = Price(self.atomic(ask), capability.refusal(self.needs(ask)), self.metadata(ask))
        return [price]

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
