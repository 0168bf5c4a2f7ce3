"""Marking a refund as paid: the operator names the transaction, and the chain has the last word."""

from typing import Any

from sqlalchemy import Connection, Row, func, select, text, update

from broker.dashboard.schemas import RefundPaid
from broker.payments.chain import Chain
from broker.tables import payments, refunds
from shared.clock import Clock
from shared.database import Database
from shared.errors import Conflict, GalaksioError, Unavailable
from shared.logs import get_logger
from shared.money import atomic_to_usd
from shared.networks import Network

log = get_logger(__name__)


class NoSuchRefund(GalaksioError):
    status = 404
    code = "not_found"

    def __init__(self) -> None:
        super().__init__("no refund is owed for a payment with this id")


class PaidOtherwise(Conflict):
    code = "refund_paid_already"

    def __init__(self) -> None:
        super().__init__("this refund is marked as paid by another transaction already: send nothing twice")


class NotPaid(GalaksioError):
    """The transaction is not there, or moved too little to this payer."""

    status = 422
    code = "refund_not_on_chain"


class Refunds:
    """`chain` is None where no node is configured: then the operator's word is taken, with a warning."""

    def __init__(self, database: Database, network: Network, chain: Chain | None, clock: Clock) -> None:
        self._database = database
        self._network = network
        self._chain = chain
        self._clock = clock

    async def paid(self, payment_id: str, transaction: str) -> RefundPaid:
        """Mark the refund of `payment_id` as paid by `transaction`; the same again changes nothing.

        One transaction may pay several refunds if it moved enough for all of them. Raises `NoSuchRefund`,
        `PaidOtherwise`, `NotPaid`, and `Unavailable` while the chain does not answer.
        """
        transaction = transaction.lower()
        refund = await self._database.read(lambda connection: _find(connection, payment_id))
        warning, moved = self._not_asked(refund), None
        if warning is None:
            moved = await self._moved(refund, transaction)
        await self._database.write(lambda connection: self._mark(connection, payment_id, transaction, moved))
        log.info("refund_paid", payment_id=payment_id, transaction=transaction, verified=warning is None)
        return RefundPaid(
            paymentId=payment_id,
            transaction=transaction,
            amountUsd=atomic_to_usd(refund.amount_atomic),
            verified=warning is None,
            warning=warning,
        )

    def _not_asked(self, refund: Row[Any]) -> str | None:
        """Why the chain cannot be asked about this refund; None when it can."""
        if refund.chain_id != self._network.chain_id:
            return f"not checked: the payment was made on eip155:{refund.chain_id}, which is not asked here"
        if self._chain is None:
            return "not checked: no node of this chain is known here (CHAIN_RPC_URL)"
        return None

    async def _moved(self, refund: Row[Any], transaction: str) -> int:
        """What the transaction moved to the payer, in atomic units."""
        if self._chain is None:
            raise Unavailable("the chain cannot be asked here", code="chain_unavailable")
        moved = await self._chain.moved_to(refund.payer, transaction)
        if moved is None:
            raise NotPaid("the chain has no such transaction yet: wait until it is mined, or check the hash")
        return moved

    def _mark(self, connection: Connection, payment_id: str, transaction: str, moved: int | None) -> None:
        if connection.dialect.name == "postgresql":
            # Two refunds marked at once must not both count the same transfer.
            connection.execute(text("LOCK TABLE refunds IN SHARE ROW EXCLUSIVE MODE"))
        refund = _find(connection, payment_id)
        if refund.state == "paid":
            if refund.transaction_hash != transaction:
                raise PaidOtherwise
            return
        if moved is not None and moved < refund.amount_atomic + _counted(
            connection, refund.payer, transaction
        ):
            raise NotPaid(
                f"this transaction did not move {atomic_to_usd(refund.amount_atomic)} USD "
                f"to {refund.payer} beyond what other refunds were paid with it"
            )
        marked = (
            update(refunds)
            .where(refunds.c.payment_id == payment_id)
            .values(state="paid", transaction_hash=transaction, updated_at=int(self._clock() * 1000))
        )
        connection.execute(marked)


def _find(connection: Connection, payment_id: str) -> Row[Any]:
    """Raises `NoSuchRefund`."""
    query = (
        select(refunds, payments.c.chain_id)
        .select_from(refunds.outerjoin(payments, payments.c.id == refunds.c.payment_id))
        .where(refunds.c.payment_id == payment_id)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NoSuchRefund
    return row


def _counted(connection: Connection, payer: str, transaction: str) -> int:
    """What this payer's other refunds were paid with the same transaction."""
    query = select(func.coalesce(func.sum(refunds.c.amount_atomic), 0)).where(
        refunds.c.state == "paid", refunds.c.payer == payer, refunds.c.transaction_hash == transaction
    )
    return int(connection.execute(query).scalar_one())
