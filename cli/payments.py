"""`galaksio payments`: what this wallet paid, with every receipt checked against the broker's key."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.table import Table
from rich.text import Text

from cli.client import fetch
from cli.config import CliError, Config
from cli.sign_in import check_sign_in, printable
from shared.networks import network_named
from shared.receipts import verify_receipt

TIMEOUT_S = 20.0
PAGE = 100


class _Statement(BaseModel):
    """The fields of a payment that are shown or checked here."""

    model_config = ConfigDict(extra="ignore")

    id: str
    job_id: str = Field(alias="jobId")
    created_at: str = Field(alias="createdAt")
    operation: str | None
    amount_atomic: str = Field(alias="amountAtomic")
    amount_usd: str = Field(alias="amountUsd")
    state: str
    payer: str
    request_hash: str = Field(alias="requestHash")
    transaction: str | None
    receipt: dict[str, Any] | None
    refund: dict[str, Any] | None


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
    key = _receipt_key(url)
    lines: list[Line] = []
    with _signed_in(config, url) as token:
        cursor: str | None = None
        while len(lines) < limit:
            asked = {"limit": min(PAGE, limit - len(lines)), **({"cursor": cursor} if cursor else {})}
            page = fetch(url, "GET", "/payments", params=asked, headers=_bearer(token))
            try:
                rows = [_Statement.model_validate(row) for row in page["payments"]]
                cursor = page["nextCursor"]
            except (ValidationError, KeyError, TypeError):
                raise CliError("The broker's list of payments was not understood.") from None
            lines += [_line(row, key) for row in rows]
            if not cursor or not rows:
                break
    return lines[:limit]


def as_table(lines: list[Line]) -> Table:
    """The payments for people. Whatever the broker said is shown as plain printable text."""
    table = Table("when (UTC)", "what", "USD", "state", "receipt", "transaction")
    for line in lines:
        cells = [Text(printable(cell)) for cell in vars(line).values()]
        cells[4].stylize({"valid": "green", "WRONG": "bold red"}.get(line.receipt, ""))
        cells[5].overflow = "fold"
        table.add_row(*cells)
    return table


@contextmanager
def _signed_in(config: Config, url: str) -> Iterator[str]:
    """A session of the config's wallet, ended on the way out."""
    from eth_account import Account
    from eth_account.messages import encode_defunct

    issued = fetch(url, "POST", "/auth/nonce", json={"address": config.address})
    text = issued.get("message") if isinstance(issued, dict) else None
    network = network_named(config.network)
    check_sign_in(
        text if isinstance(text, str) else "",
        url=url,
        address=config.address,
        chain_id=network.chain_id,
        now=datetime.now(UTC),
    )
    signed = Account.sign_message(encode_defunct(text=text), config.private_key)
    signature = "0x" + bytes(signed.signature).hex()
    session = fetch(url, "POST", "/auth/verify", json={"message": text, "signature": signature})
    token = session.get("token") if isinstance(session, dict) else None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise CliError("The broker's sign-in was not understood.")
    try:
        yield token
    finally:
        with suppress(httpx.HTTPError):  # it ends by itself within the hour
            httpx.post(f"{url}/auth/logout", headers=_bearer(token), timeout=TIMEOUT_S)


def _receipt_key(url: str) -> str:
    try:
        return str(fetch(url, "GET", "/.well-known/x402")["receiptKey"]["address"])
    except (ValueError, KeyError, TypeError):
        raise CliError(f"{url} publishes no key for receipts: is it a Galaksio broker?") from None


def _line(row: _Statement, key: str) -> Line:
    receipt = "-" if row.receipt is None else "valid" if _holds(row, key) else "WRONG"
    state = row.state if row.refund is None else f"{row.state}, refund {row.refund.get('state')}"
    when = row.created_at[:19].replace("T", " ")
    return Line(when, row.operation or "-", row.amount_usd, state, receipt, row.transaction or "-")


def _holds(row: _Statement, key: str) -> bool:
    """The receipt is signed by `key` and says the same as the row that it came with."""
    receipt = row.receipt or {}
    same = (
        receipt.get("jobId") == row.job_id,
        receipt.get("amount") == row.amount_atomic,
        receipt.get("requestHash") == row.request_hash,
        receipt.get("transaction") == row.transaction,
        str(receipt.get("payer")).lower() == row.payer.lower(),
    )
    return all(same) and verify_receipt(receipt, key)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
