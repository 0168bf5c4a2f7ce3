"""What a wallet paid at its broker: signing in, reading the pages, checking each receipt."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from eth_account import Account
from eth_account.messages import encode_defunct
from pydantic import BaseModel, Field

from galaksio.connection import Connection, Lost, Reply
from galaksio.errors import BadAnswer, Unreachable
from galaksio.paying import succeeded
from galaksio.results import Payment, read
from galaksio.sign_in import check_sign_in
from galaksio.wallet import Wallet
from shared.receipts import verify_receipt

TIMEOUT_S = 20.0
PAGE = 100


class _Page(BaseModel):
    payments: list[Payment]
    next_cursor: str | None = Field(alias="nextCursor")


async def payments(connection: Connection, wallet: Wallet, limit: int) -> list[Payment]:
    """Sign in and read up to `limit` payments, newest first; the session is ended again.

    Raises `TermsRefused` when the broker wants anything signed but its own EIP-4361 sign-in for this wallet
    and network, and any other `Error` for no answer, a refusal, or one that is not understood.
    """
    key = await _receipt_key(connection)
    found: list[Payment] = []
    async with _signed_in(connection, wallet) as bearer:
        cursor: str | None = None
        while len(found) < limit:
            asked = {"limit": min(PAGE, limit - len(found)), **({"cursor": cursor} if cursor else {})}
            page = read(_Page, await _call(connection, "GET", "/payments", params=asked, headers=bearer))
            found += page.payments
            cursor = page.next_cursor
            if not cursor or not page.payments:
                break
    return [row.model_copy(update={"receipt_valid": _valid(row, key)}) for row in found[:limit]]


@asynccontextmanager
async def _signed_in(connection: Connection, wallet: Wallet) -> AsyncIterator[dict[str, str]]:
    """The headers of a session of the wallet, ended on the way out."""
    asked = {"address": wallet.address}
    issued = (await _call(connection, "POST", "/auth/nonce", json=asked)).fields().get("message")
    text = issued if isinstance(issued, str) else ""
    check_sign_in(
        text,
        url=connection.base_url,
        address=wallet.address,
        chain_id=wallet.network.chain_id,
        now=datetime.now(UTC),
    )
    signature = Account.sign_message(encode_defunct(text=text), wallet.account.key).signature
    proof = {"message": text, "signature": "0x" + bytes(signature).hex()}
    reply = await _call(connection, "POST", "/auth/verify", json=proof)
    token = reply.fields().get("token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise BadAnswer("The broker's sign-in was not understood.", reply.said())
    bearer = {"Authorization": f"Bearer {token}"}
    try:
        yield bearer
    finally:
        with suppress(Lost):  # it ends by itself within the hour
            await connection.send("POST", "/auth/logout", headers=bearer, timeout_s=TIMEOUT_S)


async def _receipt_key(connection: Connection) -> str:
    reply = await _call(connection, "GET", "/.well-known/x402")
    key = reply.fields().get("receiptKey")
    address = key.get("address") if isinstance(key, dict) else None
    if not isinstance(address, str):
        raise BadAnswer(
            f"{connection.base_url} publishes no key for receipts: is it a Galaksio broker?", reply.said()
        )
    return address


async def _call(connection: Connection, method: str, path: str, **content: Any) -> Reply:
    try:
        return succeeded(await connection.send(method, path, timeout_s=TIMEOUT_S, **content))
    except Lost as exc:
        raise Unreachable(connection.base_url, str(exc)) from None


def _valid(row: Payment, key: str) -> bool | None:
    """Whether the receipt is signed by `key` and says the same as the row that it came with."""
    if row.receipt is None:
        return None
    same = (
        row.receipt.get("jobId") == row.job_id,
        row.receipt.get("amount") == row.amount_atomic,
        row.receipt.get("requestHash") == row.request_hash,
        row.receipt.get("transaction") == row.transaction,
        str(row.receipt.get("payer")).lower() == row.payer.lower(),
    )
    return all(same) and verify_receipt(row.receipt, key)
