"""The money that may be spent: the caps, what is left of them, and what the wallet holds."""

import asyncio
import contextlib
from collections import Counter

from sqlalchemy.exc import SQLAlchemyError

from executor.upstream.chain import Chain
from executor.upstream.journal import Journal, Payment, State
from shared.clock import Clock
from shared.logs import get_logger

log = get_logger(__name__)

LOOK_EVERY_S = 30.0
LOOK_AGAIN_S = 5.0
"""While nothing can be spent, since somebody may be filling the wallet, or the chain does not answer."""
PAUSE_S = 1.0
"""Between two looks, however much is paid: a public node is not asked more often."""
MARGIN_S = 30
"""How long after its end an authorization is looked at."""
MOST_AT_ONCE = 50


class Purse:
    """Knows what can be spent without asking anybody, and finds out what became of old payments.

    `chain` and `address` are None where somebody else signs; without a chain the fate of payments stays open.
    """

    def __init__(
        self, journal: Journal, clock: Clock, chain: Chain | None = None, address: str | None = None
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._chain = chain
        self._address = address
        self._moved = asyncio.Event()
        self.spent_on: Counter[str] = Counter()
        """What was paid since the start, by provider."""
        self._day_atomic = 0
        self._balance_atomic: int | None = None
        self._chore: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._journal.open()
        self._day_atomic = await self._journal.day_atomic()
        self._chore = asyncio.create_task(self._look_on(), name="upstream-money")

    async def close(self) -> None:
        if self._chore is not None:
            self._chore.cancel()
            await asyncio.gather(self._chore, return_exceptions=True)
        if self._chain is not None:
            await self._chain.close()
        await self._journal.close()

    @property
    def spendable_atomic(self) -> int:
        """What one call may cost now, as far as is known."""
        limits = self._journal.limits
        left = [limits.call_atomic, limits.day_atomic - self._day_atomic]
        if self._balance_atomic is not None:
            left.append(self._balance_atomic)
        return max(0, min(left))

    @property
    def chain_answers(self) -> bool | None:
        """Whether the chain told what the wallet holds when it was last asked; None where there is none."""
        return None if self._chain is None else self._balance_atomic is not None

    async def holds(self, amount_atomic: int) -> bool:
        """Whether the wallet is not known to hold less; it is asked again before that is said."""
        if self._balance_atomic is not None and self._balance_atomic < amount_atomic:
            await self._weigh()
        return self._balance_atomic is None or self._balance_atomic >= amount_atomic

    async def look(self) -> None:
        """See what is left, and what became of payments that nobody told the end of. Logs what fails."""
        try:
            await self._weigh()
            await self._resolve_overdue()
            self._day_atomic = await self._journal.day_atomic()
        except (SQLAlchemyError, OSError) as exc:
            log.error("upstream_journal_unavailable", error=type(exc).__name__)

    def spent(self, provider: str, amount_atomic: int) -> None:
        """Something was paid; what is left is counted anew in the background."""
        self.spent_on[provider] += amount_atomic
        self._day_atomic += amount_atomic
        if self._balance_atomic is not None:
            self._balance_atomic -= amount_atomic
        self._moved.set()

    async def _look_on(self) -> None:
        while True:
            self._moved.clear()
            await self.look()
            well = self.spendable_atomic and self.chain_answers is not False
            pause_s = LOOK_EVERY_S if well else LOOK_AGAIN_S
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`, which loses cancellations in Python 3.11.
                async with asyncio.timeout(pause_s):
                    await self._moved.wait()
            await asyncio.sleep(PAUSE_S)

    async def _weigh(self) -> None:
        if self._chain is not None and self._address is not None:
            self._balance_atomic = await self._chain.balance(self._address)

    async def _resolve_overdue(self) -> None:
        if self._chain is None:
            return
        ended = self._clock() - MARGIN_S
        for payment in await self._journal.overdue(
            self._chain.chain_id, self._chain.asset, ended, MOST_AT_ONCE
        ):
            await self._resolve(self._chain, payment)

    async def _resolve(self, chain: Chain, payment: Payment) -> None:
        if payment.nonce is None or payment.valid_before is None:
            return
        used = await chain.was_used(payment.payer, payment.nonce, payment.valid_before)
        if used is not None:
            state: State = "paid" if used else "unused"
            await self._journal.conclude(
                payment.id, state, reason=f"the chain says that it was {'' if used else 'never '}used"
            )
            log.info("upstream_payment_resolved", job_id=payment.job_id, host=payment.url_host, state=state)
