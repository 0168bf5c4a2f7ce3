"""Whether money could settle here: looked at when the broker starts, and again and again after that.

A facilitator that does not answer makes the broker unready, and a payment is refused when it is not verified.
Worse is a facilitator of another network, a node of another chain, or a clock that is wrong: work would be
done for authorizations that never settle, or good ones refused. Then nothing is sold until that is right; and
a broker whose settings contradict what facilitator and node say for certain does not start.
"""

import asyncio
import re

from broker.payments.chain import Chain, Head
from broker.payments.findings import Findings, Judge
from broker.payments.settlement import Settlement, Supported
from shared.calls import NoAnswer
from shared.clock import Clock, system_clock
from shared.errors import StartupError, Unavailable
from shared.health import CHECK_TIMEOUT_S, Check
from shared.logs import get_logger
from shared.networks import Network

log = get_logger(__name__)

LOOK_EVERY_S, LOOK_AGAIN_S = 60.0, 5.0
"""While all is well, and while it is not."""
FRESH_S = 1.0
"""How long a look is told to those who ask for readiness."""


class Watch:
    """`run` until cancelled. `clock` is this machine's own, and `url` where the facilitator is."""

    def __init__(
        self,
        settlement: Settlement,
        chain: Chain | None,
        network: Network,
        url: str,
        clock: Clock = system_clock,
    ) -> None:
        self._settlement = settlement
        self._chain = chain
        self._judge = Judge(network, url, asks_chain=chain is not None)
        self._clock = clock
        self._looked_at = 0.0
        self._looking = asyncio.Lock()
        self.found = Findings()

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("watch_stumbled")
            await asyncio.sleep(LOOK_EVERY_S if self.found.well else LOOK_AGAIN_S)

    def check(self) -> None:
        """Raises `Unavailable` while nothing may be sold."""
        if self.found.stops is not None:
            raise Unavailable(
                "payments cannot be taken here now; nothing was charged",
                code="payments_unavailable",
                retry_after_s=30,
            )

    async def start(self) -> None:
        """The first look. Raises `StartupError` when the settings are certainly wrong."""
        before = await self._find()
        if self.found.contradicts is not None:
            raise StartupError(self.found.contradicts)
        self._tell(before)

    async def look(self) -> None:
        """Ask facilitator and chain, unless somebody just did, and log what has changed."""
        self._tell(await self._find())

    async def _find(self) -> Findings:
        """Look, and return what was found before."""
        async with self._looking:
            if 0 <= self._clock() - self._looked_at < FRESH_S:
                return self.found
            supported, head = await asyncio.gather(self._supported(), self._head())
            before, self.found = self.found, self._judge.findings(supported, head, self._clock())
            self._looked_at = self._clock()
            return before

    def _tell(self, before: Findings) -> None:
        for what in ("facilitator", "chain", "clock", "versions"):
            now = getattr(self.found, what)
            if _without_numbers(now) != _without_numbers(getattr(before, what)):
                _say(what, now, stops=now is not None and now == self.found.stops)

    async def facilitator(self) -> Check:
        await self.look()
        if self.found.facilitator is None:
            return _check(self.found.versions, critical=False)
        return _check(self.found.facilitator)

    async def chain(self) -> Check:
        if self._chain is None:
            return Check("disabled")
        await self.look()
        # Without it sales go on; what became of the odd one is found out later.
        return _check(self.found.chain, critical=self.found.chain == self.found.stops)

    async def clock(self) -> Check:
        await self.look()
        return _check(self.found.clock, critical=self.found.clock == self.found.stops)

    async def _supported(self) -> Supported | None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S - 0.5):
                return await self._settlement.supported()
        except (NoAnswer, ValueError, RecursionError, TimeoutError):
            return None

    async def _head(self) -> Head | None:
        if self._chain is None:
            return None
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S - 0.5):
                return await self._chain.head()
        except TimeoutError:
            return None


def _without_numbers(sentence: str | None) -> str | None:
    """A clock that goes wrong by another second is nothing new."""
    return sentence and re.sub(r"\d+ s\b", "", sentence)


def _check(wrong: str | None, *, critical: bool = True) -> Check:
    return Check("healthy") if wrong is None else Check("unhealthy", wrong, critical=critical)


def _say(what: str, sentence: str | None, *, stops: bool) -> None:
    if sentence is None:
        log.info(f"{what}_well")
    elif what in {"clock", "versions"} and not stops:
        log.warning(f"{what}_wrong", hint=sentence)
    else:
        log.error(f"{what}_wrong", hint=sentence, sells=not stops)
