"""A comparison as one table, in CSV (RFC 4180) or Markdown: all prices, and who named none and why."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from shared.quotes import Quote, QuoteList

COLUMNS = (
    "kind",
    "provider",
    "choice",
    "price_usd",
    "price_atomic",
    "currency",
    "network",
    "settle",
    "valid_until",
    "reason",
)
_FORMULA = tuple("=+-@＝＋－＠")
"""A cell that begins so is calculated by spreadsheet programs (OWASP, CSV injection)."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_MARKUP = re.compile(r"([\\|\[\]<>`*])")


def csv_table(comparisons: Iterable[QuoteList]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in _rows(comparisons):
        writer.writerow(f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row)
    return text.getvalue()


def markdown_table(comparisons: Iterable[QuoteList]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS)]
    lines += [[_MARKUP.sub(r"\\\1", cell) for cell in row] for row in _rows(comparisons)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _rows(comparisons: Iterable[QuoteList]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for found in comparisons:
        rows += (_row(quote) for quote in found.quotes)
        rows += ((row.kind, row.provider, "declined", *[""] * 6, row.reason) for row in found.declined)
    return [[_CONTROL.sub(" ", cell).strip() for cell in row] for row in rows]


def _row(quote: Quote) -> Sequence[str]:
    choice = "best" if quote.not_chosen is None else "not chosen" if quote.executable else "not sold"
    return (
        quote.kind,
        quote.provider,
        choice,
        quote.price_usd,
        str(quote.price_atomic),
        quote.currency,
        quote.network,
        quote.settle,
        quote.valid_until,
        quote.not_chosen or "",
    )
