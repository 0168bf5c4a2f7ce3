"""What the commands share: where they print, and how amounts and addresses are read."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cli import config as settings
from cli.config import CliError
from cli.sign_in import printable

if TYPE_CHECKING:
    from cli.client import Paid

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

MaxCost = Annotated[str, typer.Option("--max-cost", "--max-usd", help="Cap of this payment in USD.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

BAR_FROM_BYTES = 1024 * 1024
"""A smaller file is sent before a bar could be seen."""


def show(line: str) -> None:
    """A line for people, on stderr: stdout is for what the command was asked for."""
    err.print(printable(line), highlight=False, markup=False, emoji=False)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=True))


def print_fields(fields: dict[str, Any]) -> None:
    """Names and values below each other; whatever a broker said cannot steer the terminal."""
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        print(f"{name:<{width}}  {printable(str(value))}")


def receipt_line(paid: "Paid") -> str:
    """What `paid` has cost, and where to look it up."""
    job = f"Job {paid.body['jobId']}"
    if paid.receipt is None:
        return f"{job}, free of charge"
    return f"Paid. {job}, transaction {paid.receipt['transaction']}"


@contextmanager
def sending(name: str, size_bytes: int) -> Iterator[Callable[[int], None]]:
    """Shows how much of `name` was sent, as it is told; on a terminal, and for what takes a while."""
    if not err.is_terminal or size_bytes < BAR_FROM_BYTES:
        yield lambda _: None
        return
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=err) as bar:
        task = bar.add_task(printable(f"Sending {name}"), total=size_bytes)
        yield lambda sent_bytes: bar.update(task, completed=sent_bytes)


def cap_atomic(max_cost: str) -> int | None:
    """The cap as 10^-6 USD; None where none was given: then that of the login counts."""
    from shared.money import usd_to_atomic

    return usd_to_atomic(dollars(max_cost)) if max_cost else None


def dollars(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(0)
    if not value.is_finite() or value <= 0:
        raise CliError(f"{text!r} is not an amount of dollars: write it like 0.10.")
    return value


def broker_url(given: str = "") -> str:
    """The broker: as given, as logged in, or the default on this machine."""
    if given:
        return given.rstrip("/")
    return settings.load().broker_url if settings.config_path().exists() else settings.DEFAULT_URL
