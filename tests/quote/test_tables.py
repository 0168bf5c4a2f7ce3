"""A comparison as a table that neither a spreadsheet nor a page takes for more than text."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quote.negotiation import preferred
from quote.tables import COLUMNS, csv_table, markdown_table
from shared.quotes import Declined, QuoteList, Refusal
from tests.quote.test_selection import quote

JSON, CSV, MARKDOWN = "application/json", "text/csv", "text/markdown"


def found(reason: str) -> QuoteList:
    best = quote("local", 800)
    other = quote("dear", 900, Refusal(code="closed", reason="closed")).model_copy(
        update={"not_chosen": "closed"}
    )
    declined = Declined(provider="odd", kind="compute", reason=reason)
    return QuoteList(quotes=[best, other], best=best, count=2, declined=[declined])


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_csv_table_has_all_prices_and_who_named_none() -> None:
    rows = read(csv_table([found("too large"), found("too small")]))
    assert [row["choice"] for row in rows] == ["best", "not sold", "declined"] * 2
    assert (rows[0]["provider"], rows[0]["price_usd"], rows[0]["price_atomic"]) == ("local", "0.0008", "800")
    assert (rows[1]["reason"], rows[2]["reason"], rows[5]["reason"]) == ("closed", "too large", "too small")
    assert rows[2]["price_usd"] == ""


@pytest.mark.parametrize(
    "formula",
    ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x")', "\t=1", "\r=1", "\n=1", " =1", "＝1"],
)
def test_no_cell_of_a_csv_is_a_formula(formula: str) -> None:
    reason = read(csv_table([found(formula)]))[2]["reason"]
    assert reason == "'" + formula.strip()


@given(st.text())
def test_whatever_a_reason_is_the_table_has_its_rows_and_columns(reason: str) -> None:
    lines = list(csv.reader(io.StringIO(csv_table([found(reason)]))))
    assert [len(line) for line in lines] == [len(COLUMNS)] * 4
    rows = markdown_table([found(reason)]).splitlines()
    assert len(rows) == 5
    for row in rows:
        assert row.replace("\\\\", "").replace("\\|", "").count("|") == len(COLUMNS) + 1


def test_a_markdown_cell_is_neither_a_link_nor_markup() -> None:
    row = markdown_table([found("a|b\n[x](javascript:1) <b> `c` \\")]).splitlines()[-1]
    assert row.endswith(r"| a\|b \[x\](javascript:1) \<b\> \`c\` \\ |")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/csv", CSV),
        ("text/markdown", MARKDOWN),
        ("TEXT/CSV; charset=utf-8", CSV),
        ("text/*", CSV),
        ("text/csv;q=0.5, text/markdown", MARKDOWN),
        ("text/csv;q=0.5, text/markdown;q=0.4", CSV),
        ("text/csv, */*;q=0.1", CSV),
        ("text/csv, application/json", JSON),
        ("text/csv, application/json;q=0.9", CSV),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
        ("application/json;q=0, */*", CSV),
        ("text/*;q=0.3, text/markdown;q=0", CSV),
        ("image/png", JSON),
        ("text/csv;q=nonsense", JSON),
        ("text/csv;q=-1", JSON),
        ("text/csv;q=inf", JSON),
        ("text/csv;q=9", CSV),
        (",;,=;q", JSON),
        ("a/b," * 10_000 + "text/csv", JSON),
    ],
)
def test_the_form_is_the_one_that_is_wanted_most(accept: str, media_type: str) -> None:
    assert preferred(accept, (JSON, CSV, MARKDOWN)) == media_type


@given(st.text())
def test_any_accept_header_is_answered(accept: str) -> None:
    assert preferred(accept, (JSON, CSV, MARKDOWN)) in {JSON, CSV, MARKDOWN}
