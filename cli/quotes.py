"""`galaksio quote`: who would do the work, for how much, and why not the others."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from rich import box
from rich.table import Table
from rich.text import Text

from cli.client import fetch, fetch_text
from cli.config import CliError
from cli.terminal import dollars, out, print_json, printable
from shared.quotes import Quote, QuoteList

BELONGS = {
    "size": {"run", "store"},
    "language": {"run"},
    "timeout": {"run"},
    "permanent": {"store"},
    "ttl": {"store"},
    "region": {"cache"},
}
"""Which options say something about which operation."""
FORMS = {"csv": "text/csv", "markdown": "text/markdown"}
UNKNOWN = "-"
SHOWN_ONLY = "shown only"


@dataclass(frozen=True)
class Record:
    """How a provider did lately: `success_rate` from 0 to 1, `typical_ms`; None is not known."""

    success_rate: float | None = None
    typical_ms: int | None = None

    def __str__(self) -> str:
        rate = None if self.success_rate is None else f"{self.success_rate:.0%}"
        speed = None if self.typical_ms is None else f"{self.typical_ms} ms"
        return ", ".join(part for part in (rate, speed) if part) or UNKNOWN


Records = dict[tuple[str, str], Record]
"""By kind and name of the provider."""


class _Row(BaseModel):
    """What is read of a row of `GET /providers`: its jobs count, before the first one its answers."""

    model_config = ConfigDict(extra="ignore")

    name: str
    kind: str
    success_rate: float | None = None
    typical_ms: int | None = None
    jobs_success_rate: float | None = None
    jobs_typical_ms: int | None = None

    def record(self) -> Record:
        if self.jobs_success_rate is not None:
            return Record(self.jobs_success_rate, self.jobs_typical_ms)
        return Record(self.success_rate, self.typical_ms)


class _Rows(BaseModel):
    providers: list[_Row]


def ask_of(operation: str, given: dict[str, Any], provider: str, max_cost: str) -> dict[str, Any]:
    """The body of `POST /quote/{operation}`; what was not said is left out: quote has the defaults.

    Raises `CliError` for what says nothing about this operation.
    """
    said = {name: value for name, value in given.items() if value not in ("", None) and value is not False}
    for name in said:
        if operation not in BELONGS.get(name, {operation}):
            raise CliError(f"--{name} is for {' and '.join(sorted(BELONGS[name]))}, not for {operation}.")
    conditions = {"provider": provider, "maxCostUsd": str(dollars(max_cost)) if max_cost else ""}
    return {**said, **{name: value for name, value in conditions.items() if value}}


def form_of(**chosen: bool) -> str | None:
    """The form that is wanted, None for tables. Raises `CliError` for more than one."""
    forms = [name for name, wanted in chosen.items() if wanted]
    if len(forms) > 1:
        raise CliError(f"Choose one of {' and '.join(f'--{name}' for name in forms)}.")
    return forms[0] if forms else None


def print_quotes(url: str, operation: str, ask: dict[str, Any], form: str | None) -> None:
    """Ask the broker at `url`, and print a table, or in another `form` (json, csv, markdown) what it says.

    Raises `CliError`.
    """
    path = f"/quote/{operation}"
    if form in FORMS:
        text = fetch_text(url, "POST", path, FORMS[form], json=ask)
        sys.stdout.write("".join(f"{printable(line)}\n" for line in text.splitlines()))
        return
    found = fetch(url, "POST", path, json=ask)
    if form == "json":
        print_json(found)
        return
    try:
        quotes = QuoteList.model_validate(found)
    except ValidationError:
        raise CliError("The broker's prices were not understood.") from None
    out.print(comparison(quotes, _records(url)), soft_wrap=False)
    if (reasons := why_not(quotes)).row_count:
        out.print(reasons, soft_wrap=False)
    asked = f"`POST /{operation}` without payment names the full price"
    out.print(f"The broker's fee is added to what you pay; {asked}.", soft_wrap=False)


def comparison(found: QuoteList, records: Records) -> Table:
    """The prices in the order of choice. Whatever a broker said is shown as plain printable text."""
    table = _table("", "provider", "price (USD)", "can be bought", "settles", "lately")
    table.columns[2].no_wrap = True
    for quote, is_best in _marked(found):
        _add(
            table,
            "best" if is_best else "",
            quote.provider,
            quote.price_usd,
            bought := _bought(quote),
            UNKNOWN if bought == SHOWN_ONLY else f"{quote.settle} work",
            str(records.get((quote.kind, quote.provider), Record())),
            style="bold" if is_best else "",
        )
    return table


def why_not(found: QuoteList) -> Table:
    """What speaks against each of the others, and then who named no price and why."""
    table = _table("not chosen", "because")
    for quote, is_best in _marked(found):
        if not is_best and (reason := _reason(quote)):
            _add(table, quote.provider, reason)
    for row in found.declined:
        _add(table, row.provider, "no price: " + _with_wait(row.reason, row.retry_after_s))
    return table


def _marked(found: QuoteList) -> Iterator[tuple[Quote, bool]]:
    """Each quote, and whether it is the best; of two that are the same the first one is."""
    best = found.best
    for quote in found.quotes:
        is_best = best is not None and quote == best
        best = None if is_best else best
        yield quote, is_best


def _bought(quote: Quote) -> str:
    if quote.executable:
        return "yes"
    waiting_helps = quote.refusal is not None and quote.refusal.retry_after_s is not None
    return "no" if waiting_helps else SHOWN_ONLY


def _reason(quote: Quote) -> str:
    refusal = quote.refusal
    if refusal is None:
        return quote.not_chosen or str(quote.metadata.get("unavailable", ""))
    return _with_wait(quote.not_chosen or refusal.reason, refusal.retry_after_s)


def _with_wait(reason: str, retry_after_s: int | None) -> str:
    return reason if retry_after_s is None else f"{reason} (again in {retry_after_s} s)"


def _records(url: str) -> Records:
    """How the providers did lately; a broker that does not say so names prices all the same."""
    try:
        rows = _Rows.model_validate(fetch(url, "GET", "/providers")).providers
    except (CliError, ValueError):
        return {}
    return {(row.kind, row.name): row.record() for row in rows}


def _table(*headings: str) -> Table:
    table = Table(*headings, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in table.columns:
        column.overflow = "fold"
    return table


def _add(table: Table, *cells: str, style: str = "") -> None:
    table.add_row(*(Text(printable(cell)) for cell in cells), style=style)
