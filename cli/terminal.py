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

if TYPE_CHECKING:
    from galaksio.results import Sold

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

MaxCost = Annotated[str, typer.Option("--max-cost", "--max-usd", help="Cap of this payment in USD.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

BAR_FROM_BYTES = 1024 * 1024
"""A smaller file is sent before a bar could be seen."""


def printable(text: str) -> str:
    """`text` without anything that could steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


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


def receipt_line(sold: "Sold") -> str:
    """Where to look up what was bought."""
    job = f"Job {sold.job_id}"
    if sold.receipt is None:
        return f"{job}, free of charge"
    return f"Paid. {job}, transaction {sold.receipt.transaction}"


def told(sold: "Sold") -> dict[str, Any]:
    """What was bought, for `--json`: the broker's own fields, and the receipt."""
    fields = sold.model_dump(mode="json", exclude={"price_usd", "receipt"})
    receipt = None if sold.receipt is None else sold.receipt.model_dump(exclude_none=True)
    return {**fields, "receipt": receipt}


@contextmanager
def sending(name: str) -> Iterator[Callable[[int, int], None]]:
    """Shows how much of `name` was sent, as it is told; on a terminal, and for what takes a while."""
    if not err.is_terminal:
        yield lambda *_: None
        return
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    bar = progress.Progress(*columns, console=err)
    task = bar.add_task(printable(f"Sending {name}"))

    def sent(sent_bytes: int, size_bytes: int) -> None:
        if size_bytes >= BAR_FROM_BYTES:
            bar.start()
            bar.update(task, completed=sent_bytes, total=size_bytes)

    try:
        yield sent
    finally:
        if bar.live.is_started:
            bar.stop()


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
