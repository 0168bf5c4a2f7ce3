"""Money: integers inside, decimal strings outside, rounded up, never a float."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.money import MAX_ATOMIC, atomic_to_usd, ceil_div, usd_to_atomic


@pytest.mark.parametrize(
    ("usd", "atomic"),
    [("0", 0), ("0.005", 5000), ("0.0000001", 1), ("1.0000001", 1_000_001), (3, 3_000_000), ("1e-6", 1)],
)
def test_dollars_become_atomic_units_rounded_up(usd: Any, atomic: int) -> None:
    assert usd_to_atomic(usd) == atomic


@pytest.mark.parametrize(
    "usd", [0.1, True, "NaN", "Infinity", "-1", "", "1,5", "a", Decimal("1e40"), MAX_ATOMIC]
)
def test_what_is_not_an_amount_is_refused(usd: Any) -> None:
    with pytest.raises(ValueError):
        usd_to_atomic(usd)


@given(st.integers(min_value=0, max_value=MAX_ATOMIC))
def test_every_amount_survives_being_written_and_read(atomic: int) -> None:
    text = atomic_to_usd(atomic)
    assert "e" not in text.lower()
    assert usd_to_atomic(text) == atomic


@given(st.integers(min_value=0, max_value=10**30), st.integers(min_value=1, max_value=10**15))
def test_ceil_div_never_loses_a_unit(numerator: int, denominator: int) -> None:
    quotient = ceil_div(numerator, denominator)
    assert (quotient - 1) * denominator < numerator <= quotient * denominator
