"""Which price is the best, and what is said of each other one."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quote.selection import Record, is_over, select
from shared.money import MAX_ATOMIC, atomic_to_usd
from shared.quotes import Quote, Refusal

CLOSED = Refusal(code="closed", reason="closed till noon", retry_after_s=60)


def quote(provider: str, atomic: int, refusal: Refusal | None = None) -> Quote:
    return Quote(
        provider=provider,
        kind="compute",
        price_usd=atomic_to_usd(atomic),
        price_atomic=atomic,
        network="base-sepolia",
        valid_until="2027-01-15T08:05:00.000Z",
        executable=refusal is None,
        refusal=refusal,
    )


def reasons(quotes: list[Quote]) -> dict[str, str | None]:
    return {one.provider: one.not_chosen for one in quotes}


def test_the_cheapest_is_best_and_the_others_are_told_how_much_more_they_cost() -> None:
    ranked, best = select([quote("dear", 2_000), quote("local", 800)], {})
    assert best is not None
    assert best.provider == "local"
    assert reasons(ranked) == {"local": None, "dear": "costs $0.0012 more than local"}


def test_of_one_price_the_more_reliable_is_best_then_the_faster_then_the_first_name() -> None:
    records = {
        "a": Record(0.7, 10, of="jobs"),
        "b": Record(1.0, 90, of="jobs"),
        "c": Record(1.0, 50),
        "d": Record(1.0, 50),
        "e": Record(0.95, None),
    }
    ranked, best = select([quote(name, 5) for name in "fedcba"], records)
    assert best is not None
    assert list(reasons(ranked).items()) == [
        ("c", None),
        ("d", "the same price as c, but its name comes later"),
        ("b", "the same price as c, but slower: 90 ms against 50 ms"),
        ("f", "the same price as c, but nobody knows how fast it is"),
        ("e", "the same price as c, but 5% of its answers failed lately"),
        ("a", "the same price as c, but 30% of its jobs failed lately"),
    ]


def test_what_was_never_measured_does_not_speak_against_a_provider() -> None:
    _, best = select([quote("known", 5), quote("new", 5)], {"known": Record(0.99, 1)})
    assert best is not None
    assert best.provider == "new"


def test_what_cannot_be_bought_comes_last_and_says_why() -> None:
    ranked, best = select([quote("closed", 1, CLOSED), quote("dear", 9)], {})
    assert best is not None
    assert list(reasons(ranked).items()) == [("dear", None), ("closed", "closed till noon")]


@pytest.mark.parametrize(
    ("limit", "chosen"), [("0.0008", "a"), ("0.00080", "a"), ("0.00079999", None), ("0", None)]
)
def test_what_is_over_the_customers_limit_is_listed_but_not_chosen(limit: str, chosen: str | None) -> None:
    ranked, best = select([quote("b", 900), quote("a", 800), quote("c", 1, CLOSED)], {}, Decimal(limit))
    assert (best and best.provider) == chosen
    assert [one.provider for one in ranked] == ["a", "b", "c"]
    assert ranked[1].not_chosen == "its price is over maxCostUsd"
    assert ranked[1].executable


def test_nothing_of_nothing_is_best() -> None:
    assert select([], {}) == ([], None)


some_quotes = st.lists(
    st.builds(
        quote,
        st.sampled_from("abcdefgh"),
        st.one_of(st.integers(1, 5), st.integers(1, MAX_ATOMIC)),
        st.sampled_from([None, None, CLOSED]),
    ),
    max_size=12,
)
some_records = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.builds(
        Record,
        st.one_of(st.none(), st.floats(0, 1)),
        st.one_of(st.none(), st.integers(0, 10**9)),
        of=st.sampled_from(["jobs", "answers"]),
    ),
)
some_limit = st.one_of(
    st.none(), st.decimals(0, 1_000_000, allow_nan=False, places=6), st.sampled_from([Decimal("0.000003")])
)


@given(some_quotes, some_records, some_limit)
def test_the_best_can_be_bought_within_the_limit_and_nothing_that_can_is_cheaper(
    quotes: list[Quote], records: dict[str, Record], limit: Decimal | None
) -> None:
    ranked, best = select(quotes, records, limit)
    eligible = [one for one in quotes if one.executable and not is_over(one, limit)]
    assert (best is not None) is bool(eligible)
    if best is not None:
        assert best.executable
        assert best.refusal is None
        assert limit is None or Decimal(best.price_usd) <= limit
        assert best.price_atomic == min(one.price_atomic for one in eligible)
        assert ranked[0] == best


@given(some_quotes, some_records, some_limit, st.randoms())
def test_every_quote_is_kept_with_a_reason_and_the_order_asked_in_is_no_matter(
    quotes: list[Quote], records: dict[str, Record], limit: Decimal | None, random: object
) -> None:
    ranked, best = select(quotes, records, limit)
    assert sorted(one.provider for one in ranked) == sorted(one.provider for one in quotes)
    unexplained = [one for one in ranked if not one.not_chosen]
    assert unexplained == ([] if best is None else [best])
    shuffled = list(quotes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again, _ = select(shuffled, records, limit)
    assert [(one.price_atomic, one.provider) for one in again] == [
        (one.price_atomic, one.provider) for one in ranked
    ]
    ranks = [(not one.executable, is_over(one, limit), one.price_atomic) for one in ranked]
    assert ranks == sorted(ranks)
