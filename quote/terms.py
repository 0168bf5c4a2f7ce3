"""What is kept of a provider's 402: the ways to pay it, as JSON that is bounded however much it said."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic_core import to_json

from quote.outside import Heard
from quote.providers.base import Decline, Failed
from shared.challenges import Challenge, ChallengeError, read_challenge
from shared.money import MAX_ATOMIC
from shared.networks import Money, money_of
from shared.quotes import Refusal

MAX_TEXT = 1024
MAX_ENTRIES_BYTES = 16 * 1024
"""What is copied from a provider into each quote."""

REAL_MONEY = Refusal(
    code="real_money", reason="it is paid in real money, and what this host takes is test money"
)


@dataclass(frozen=True)
class Way:
    """One way to pay a provider: `price_atomic` (10^-6 USD) to `pay_to` on `network` (CAIP-2).

    `entry` is how the 402 says it, without what was too long; None where it was too much.
    """

    network: str
    price_atomic: int
    pay_to: str
    entry: dict[str, Any] | None


@dataclass(frozen=True)
class Terms:
    """All ways to pay a provider, cheapest first."""

    x402_version: int
    ways: tuple[Way, ...]

    def as_json(self) -> dict[str, Any]:
        return {"x402_version": self.x402_version, "ways": [asdict(way) for way in self.ways]}

    @classmethod
    def of_json(cls, kept: dict[str, Any]) -> "Terms":
        return cls(kept["x402_version"], tuple(Way(**way) for way in kept["ways"]))

    def choose(self, networks: Sequence[str] | None, home: Money | None) -> Way:
        """The cheapest way that the executor can pay, else the cheapest in money like the host's.

        `networks` are the ones it can pay on (None: all), `home` is the money that the host takes. Raises
        `Decline` where real money is taken and there is no price in it.
        """
        alike = [way for way in self.ways if _alike(way, home)]
        if home == "real" and not alike:
            raise Decline("it takes test money only, which is worth nothing where this host is paid")
        payable = [way for way in alike if networks is None or way.network in networks]
        return (payable or alike or self.ways)[0]


def read_terms(heard: Heard) -> Terms:
    """Raises `Failed` for an answer that is no price."""
    try:
        challenge = read_challenge(heard.status, heard.headers, heard.body)
    except ChallengeError as exc:
        raise Failed(str(exc)) from None
    return Terms(challenge.x402_version, tuple(_ways(challenge)))


def money_refusal(way: Way, home: Money | None) -> Refusal | None:
    """A host that takes test money must not spend real money for it."""
    return None if _alike(way, home) else REAL_MONEY


def _alike(way: Way, home: Money | None) -> bool:
    return home is not None and money_of(way.network) == home


def _ways(challenge: Challenge) -> list[Way]:
    ways = []
    left_bytes = MAX_ENTRIES_BYTES
    for wanted in challenge.accepts:
        entry = _shortened(wanted.entry)
        length = len(to_json(entry))
        fits = length <= left_bytes
        left_bytes -= length if fits else 0
        ways.append(Way(wanted.network, wanted.price_atomic, wanted.pay_to, entry if fits else None))
    return ways


def _shortened(value: Any) -> Any:
    """A copy without texts and numbers that are too long for anybody to need them."""
    if isinstance(value, dict):
        return {name: _shortened(item) for name, item in value.items() if _short(name) and _short(item)}
    if isinstance(value, list):
        return [_shortened(item) for item in value if _short(item)]
    return value


def _short(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TEXT
    return not isinstance(value, int) or abs(value) <= MAX_ATOMIC
