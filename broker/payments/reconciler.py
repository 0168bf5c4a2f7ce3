"""Finishes what was left behind: by a broker that died, by a facilitator that did not answer.

Runs in the background of every broker; several on one database share the work by leases. It never holds
the door closed: requests are answered while it works.
"""

import asyncio
from collections.abc import Awaitable, Callable

from broker.payments.fulfilment import Fulfilment
from broker.payments.ledger import Ledger
from broker.payments.records import LedgerError, PaymentRow
from shared.logs import get_logger, set_job_id

log = get_logger(__name__)

LOOK_EVERY_S = 1.0
AT_ONCE = 16


class Reconciler:
    """`run` until cancelled."""

    def __init__(self, ledger: Ledger, fulfilment: Fulfilment) -> None:
        self._ledger = ledger
        self._fulfilment = fulfilment
        self._working: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Look for payments that nobody works on, renew the leases of those that this broker works on, and
        take back what unpaid work left behind."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(self._ledger.lease_ms / 3000, self._fulfilment.renew_leases))
            group.create_task(self._every(LOOK_EVERY_S, self.look))
            group.create_task(self._every(LOOK_EVERY_S, self._fulfilment.take_back))

    async def look(self) -> int:
        """Take over what is due, carry it on in the background; returns how many were found."""
        room = AT_ONCE - len(self._working)
        found = await self._ledger.take_over(room, self._fulfilment.active) if room > 0 else []
        for payment in found:
            task = asyncio.create_task(self._resume(payment))
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return len(found)

    async def drain(self) -> None:
        """Wait for what is being carried on (at shutdown)."""
        if self._working:
            await asyncio.wait(self._working)

    async def _resume(self, payment: PaymentRow) -> None:
        set_job_id(payment.job_id)
        try:
            ended = await self._fulfilment.resume(payment)
        except LedgerError:
            log.info("payment_taken_by_another", payment_id=payment.id)
        except Exception:
            log.exception("reconciling_failed", payment_id=payment.id, state=payment.state)
        else:
            log.info("reconciled", payment_id=payment.id, was=payment.state, now=ended.payment.state)

    @staticmethod
    async def _every(seconds: float, work: Callable[[], Awaitable[int]]) -> None:
        while True:
            try:
                await work()
            except Exception:
                log.exception("reconciler_stumbled")
            await asyncio.sleep(seconds)
