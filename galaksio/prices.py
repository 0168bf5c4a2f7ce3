"""Amounts of money as they go in and out of the client: `Decimal` dollars outside, integers inside."""

from dataclasses import dataclass
from decimal import Decimal

from shared.money import atomic_to_usd, usd_to_atomic

Usd = Decimal | str | int
"""Dollars; never a float."""


@dataclass(frozen=True)
class Price:
    """What a broker asks for, before it is signed. `atomic` is 10^-6 USD, `network` a name like `base`."""

    atomic: int
    network: str
    pay_to: str

    @property
    def usd(self) -> Decimal:
        return usd(self.atomic)


def usd(atomic: int) -> Decimal:
    """10^-6 USD as dollars."""
    return Decimal(atomic_to_usd(atomic))


def limit_atomic(limit: Usd) -> int:
    """A limit in 10^-6 USD, rounded down. Raises `ValueError` for what is no amount."""
    atomic = usd_to_atomic(limit)
    return atomic - 1 if usd(atomic) > Decimal(limit) else atomic
