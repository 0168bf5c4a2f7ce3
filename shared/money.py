"""Money is an integer of atomic units inside and a decimal string outside; floats never touch it.

An atomic unit is 10^-6 dollar (USDC has 6 decimals). Prices are rounded up (payments.md §2).
"""

from decimal import ROUND_CEILING, Decimal, InvalidOperation, localcontext

USD_DECIMALS = 6
MAX_ATOMIC = 2**63 - 1
"""What a signed 64-bit column holds: 9.2 trillion dollars."""


def usd_to_atomic(usd: Decimal | str | int) -> int:
    """Dollars to atomic units, rounded up. Raises `ValueError` for anything that is not an amount."""
    if isinstance(usd, bool | float):
        raise ValueError("an amount of money is never a float or a boolean")
    try:
        value = Decimal(usd)
    except InvalidOperation:
        raise ValueError("not an amount of money") from None
    if not value.is_finite() or value < 0 or value > MAX_ATOMIC:
        raise ValueError("an amount of money is finite and not negative")
    with localcontext(prec=60):
        atomic = int(value.scaleb(USD_DECIMALS).to_integral_value(rounding=ROUND_CEILING))
    if atomic > MAX_ATOMIC:
        raise ValueError("amount too large")
    return atomic


def atomic_to_usd(atomic: int) -> str:
    """Atomic units to a plain decimal string of dollars: 5_200 → "0.0052"."""
    text = f"{Decimal(atomic).scaleb(-USD_DECIMALS):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def ceil_div(numerator: int, denominator: int) -> int:
    """Integer division rounded up, for prices per unit."""
    return -(-numerator // denominator)
