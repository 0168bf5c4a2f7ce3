"""The payments as their payer and the operator see them, newest first, with signed receipts."""

import asyncio
import hashlib
from typing import Any

from eth_utils.address import to_checksum_address
from sqlalchemy import ColumnElement, Row, Select, and_, case, or_, select

from broker.accounts.cursor import Cursors, Place
from broker.accounts.receipt_key import ReceiptKey
from broker.accounts.schemas import PaymentPage, PaymentStatement, Refund, SignedReceipt
from broker.tables import jobs, payments, refunds
from shared.clock import iso
from shared.database import Database
from shared.money import atomic_to_usd
from shared.networks import Network

_SETTLED = payments.c.state == "settled"
_QUERY: Select[*tuple[Any, ...]] = select(
    payments.c.id,
    payments.c.chain_id,
    payments.c.asset,
    payments.c.payer,
    payments.c.nonce,
    payments.c.job_id,
    payments.c.request_hash,
    payments.c.state,
    payments.c.amount_atomic,
    payments.c.pay_to,
    payments.c.transaction_hash,
    payments.c.reason,
    payments.c.created_at,
    payments.c.updated_at,
    jobs.c.operation,
    jobs.c.provider,
    jobs.c.response_hash,
    # The text itself is read only where its hash was not kept.
    case((and_(_SETTLED, jobs.c.response_hash.is_(None)), jobs.c.response)).label("response"),
    refunds.c.state.label("refund_state"),
    refunds.c.amount_atomic.label("refund_atomic"),
    refunds.c.reason.label("refund_reason"),
    refunds.c.transaction_hash.label("refund_transaction"),
).select_from(
    payments.outerjoin(jobs, jobs.c.id == payments.c.job_id).outerjoin(
        refunds, refunds.c.payment_id == payments.c.id
    )
)


class History:
    """Reads payments. `payer` is whose (lower case); None is the operator, who sees all."""

    def __init__(self, database: Database, network: Network, key: ReceiptKey) -> None:
        self._database = database
        self._network = network
        self._key = key
        self._cursors = Cursors(key.secret_for("payment cursors"))

    async def page(
        self, payer: str | None, *, limit: int, cursor: str | None, state: str | None, broker: str
    ) -> PaymentPage:
        """Up to `limit` payments after `cursor`. Raises `BadRequest` for a cursor of another listing.

        `broker` is this broker's base URL, as the receipts name it.
        """
        listing = f"{payer or '*'} {state or '*'}"
        conditions: list[ColumnElement[bool]] = []
        if payer is not None:
            conditions.append(payments.c.payer == payer)
        if state is not None:
            conditions.append(payments.c.state == state)
        if cursor is not None:
            conditions.append(_after(self._cursors.read(cursor, listing)))
        query = (
            _QUERY.where(*conditions)
            .order_by(payments.c.created_at.desc(), payments.c.id.desc())
            .limit(limit + 1)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        shown = rows[:limit]
        more = len(rows) > limit
        return PaymentPage(
            # 0.4 ms of hashing and signing for each receipt: not on the event loop.
            payments=await asyncio.to_thread(lambda: [self._statement(row, broker) for row in shown]),
            nextCursor=self._cursors.write(Place(shown[-1].created_at, shown[-1].id), listing)
            if more
            else None,
        )

    async def one(self, payer: str | None, payment_id: str, broker: str) -> PaymentStatement | None:
        """The payment, or None when there is none with this id that `payer` may see."""
        conditions = [payments.c.id == payment_id, *([] if payer is None else [payments.c.payer == payer])]
        query = _QUERY.where(*conditions)
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else await asyncio.to_thread(self._statement, row, broker)

    def _statement(self, row: Row[Any], broker: str) -> PaymentStatement:
        known = row.chain_id == self._network.chain_id
        return PaymentStatement(
            id=row.id,
            jobId=row.job_id,
            state=row.state,
            amountAtomic=str(row.amount_atomic),
            amountUsd=atomic_to_usd(row.amount_atomic),
            network=self._network.name if known else f"eip155:{row.chain_id}",
            asset=to_checksum_address(row.asset),
            payer=to_checksum_address(row.payer),
            payTo=to_checksum_address(row.pay_to),
            nonce=row.nonce,
            transaction=row.transaction_hash,
            reason=row.reason,
            operation=row.operation,
            provider=row.provider,
            createdAt=iso(row.created_at / 1000),
            updatedAt=iso(row.updated_at / 1000),
            requestHash=row.request_hash,
            receipt=self._receipt(row, broker),
            refund=_refund(row),
        )

    def _receipt(self, row: Row[Any], broker: str) -> SignedReceipt | None:
        result_hash = row.response_hash
        if result_hash is None and row.response is not None:
            result_hash = hashlib.sha256(row.response.encode()).hexdigest()
        if row.state != "settled" or row.transaction_hash is None or result_hash is None:
            return None
        receipt = {
            "version": 1,
            "broker": broker,
            "network": f"eip155:{row.chain_id}",
            "asset": to_checksum_address(row.asset),
            "payTo": to_checksum_address(row.pay_to),
            "payer": to_checksum_address(row.payer),
            "amount": str(row.amount_atomic),
            "transaction": row.transaction_hash,
            "requestHash": row.request_hash,
            "resultHash": result_hash,
            "jobId": row.job_id,
            "settledAt": iso(row.updated_at / 1000),
        }
        return SignedReceipt.model_validate(self._key.sign(receipt))


def _after(place: Place) -> ColumnElement[bool]:
    return or_(
        payments.c.created_at < place.created_at_ms,
        and_(payments.c.created_at == place.created_at_ms, payments.c.id < place.id),
    )


def _refund(row: Row[Any]) -> Refund | None:
    if row.refund_state is None:
        return None
    return Refund(
        state=row.refund_state,
        amountAtomic=str(row.refund_atomic),
        amountUsd=atomic_to_usd(row.refund_atomic),
        reason=row.refund_reason,
        transaction=row.refund_transaction,
    )
