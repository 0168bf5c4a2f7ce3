"""`galaksio payments`: what this wallet paid, with every receipt checked against the broker's key."""

from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from cli.client import paying
from cli.config import Config
from cli.terminal import printable
from galaksio.results import Payment


@dataclass(frozen=True)
class Line:
    """One payment; `receipt` is `valid`, `WRONG` or `-` where there is none (yet)."""

    when: str
    operation: str
    amount_usd: str
    state: str
    receipt: str
    transaction: str


def list_payments(config: Config, url: str, limit: int) -> list[Line]:
    """Sign in at `url` with the wallet of `config` and read up to `limit` payments, newest first.

    Raises `CliError` with one sentence when the broker does not answer, refuses, or asks for a signature
    under anything but its own EIP-4361 sign-in for this wallet and network.
    """
    with paying(config.model_copy(update={"broker_url": url})) as client:
        return [_line(payment) for payment in client.payments(limit)]


def as_table(lines: list[Line]) -> Table:
    """The payments for people. Whatever the broker said is shown as plain printable text."""
    table = Table("when (UTC)", "what", "USD", "state", "receipt", "transaction")
    for line in lines:
        cells = [Text(printable(cell)) for cell in vars(line).values()]
        cells[4].stylize({"valid": "green", "WRONG": "bold red"}.get(line.receipt, ""))
        cells[5].overflow = "fold"
        table.add_row(*cells)
    return table


def _line(paid: Payment) -> Line:
    receipt = {None: "-", True: "valid", False: "WRONG"}[paid.receipt_valid]
    state = paid.state if paid.refund is None else f"{paid.state}, refund {paid.refund.get('state')}"
    when = paid.created_at[:19].replace("T", " ")
    return Line(when, paid.operation or "-", paid.amount_usd, state, receipt, paid.transaction or "-")
