"""Whether money could settle here: looked at when the broker starts, and again and again after that.

A facilitator that does not answer makes the broker unready, and a payment is refused when it is not verified.
Worse is a facilitator of another network, a node of another chain, or a clock that is wrong: work would be
done for authorizations that never settle, or good ones refused. Then nothing is sold until that is right.
"""

import asyncio
import re
from dataclasses import dataclass

from broker.payments.chain import Chain, Head
from broker.payments.settlement import Settlement, Supported
from shared.calls import NoAnswer
from shared.clock import Clock, system_clock
from shared.errors import Unavailable
from shared.health import CHECK_TIMEOUT_S, Check
from shared.logs import get_logger
from shared.networks import Network

log = get_logger(__name__)

LOOK_EVERY_S, LOOK_AGAIN_S = 60.0, 5.0
"""While all is well, and while it is not."""
SKEW_WARN_S, SKEW_STOP_S = 30, 120
"""How wrong the clock may be: authorizations are signed for a few minutes."""
FRESH_S = 1.0
"""How long a look is told to those who ask for readiness."""


@dataclass(frozen=True)
class Findings:
    """What the last look said: a sentence for what is wrong, or None. `stops` is why nothing is sold."""

    facilitator: str | None = None
    chain: str | None = None
    clock: str | None = None
    stops: str | None = None


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
        self._network = network
        self._url = url
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
            well = self.found == Findings()
            await asyncio.sleep(LOOK_EVERY_S if well else LOOK_AGAIN_S)

    def check(self) -> None:
        """Raises `Unavailable` while nothing may be sold."""
        if self.found.stops is not None:
            raise Unavailable(
                "payments cannot be taken here now; nothing was charged",
                code="payments_unavailable",
                retry_after_s=30,
            )

    async def look(self) -> None:
        """Ask facilitator and chain, unless somebody just did, and log what has changed."""
        async with self._looking:
            if 0 <= self._clock() - self._looked_at < FRESH_S:
                return
            supported, head = await asyncio.gather(self._supported(), self._head())
            before, self.found = self.found, self._judge(supported, head)
            self._looked_at = self._clock()
        for what in ("facilitator", "chain", "clock"):
            now = getattr(self.found, what)
            if _without_numbers(now) != _without_numbers(getattr(before, what)):
                _say(what, now, stops=now is not None and now == self.found.stops)

    async def facilitator(self) -> Check:
        await self.look()
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

    def _judge(self, supported: Supported | None, head: Head | None) -> Findings:
        facilitator, mismatch = self._of_facilitator(supported)
        chain, other_chain = self._of_chain(head)
        skew_s = self._skew_s(supported, head)
        clock = _of_skew(skew_s)
        wrong = clock if abs(skew_s) > SKEW_STOP_S else None
        return Findings(facilitator, chain, clock, mismatch or other_chain or wrong)

    def _of_facilitator(self, supported: Supported | None) -> tuple[str | None, str | None]:
        """What is wrong with it, and again if that stops sales."""
        if supported is None:
            said = (
                f"The facilitator at {self._url} does not answer, so that nothing can be paid: is "
                "X402_FACILITATOR_URL right, and can this machine reach it?"
            )
            return said, None
        if any(self._network.matches(network) for network in supported.networks):
            return None, None
        offered = ", ".join(sorted(set(supported.networks))[:5]) or "no network at all"
        said = (
            f"The facilitator at {self._url} does not settle on {self._network.name}, but on {offered}: set "
            "X402_FACILITATOR_URL or X402_NETWORK. Nothing is sold until they agree."
        )
        return said, said

    def _of_chain(self, head: Head | None) -> tuple[str | None, str | None]:
        if self._chain is None:
            return None, None
        if head is None:
            return "The node at CHAIN_RPC_URL does not answer: unclear settlements stay unclear.", None
        if head.chain_id == self._network.chain_id:
            return None, None
        said = (
            f"The node at CHAIN_RPC_URL is on chain {head.chain_id}, and {self._network.name} is "
            f"{self._network.chain_id}: set CHAIN_RPC_URL or X402_NETWORK. Nothing is sold until they agree."
        )
        return said, said

    def _skew_s(self, supported: Supported | None, head: Head | None) -> int:
        """How far this clock is ahead: by the facilitator's, else by a block that comes out of the future.

        An old block says nothing, since nobody knows how late it is seen.
        """
        if supported is not None and supported.now_s is not None:
            return round(self._clock() - supported.now_s)
        return min(0, round(self._clock() - head.time_s)) if head is not None else 0


def _of_skew(skew_s: int) -> str | None:
    if abs(skew_s) <= SKEW_WARN_S:
        return None
    direction = "ahead" if skew_s > 0 else "behind"
    said = f"This machine's clock is {abs(skew_s)} s {direction}: have it set by NTP."
    if abs(skew_s) <= SKEW_STOP_S:
        return said
    return f"{said} Nothing is sold until it is right, because good payments would be judged wrong."


def _without_numbers(sentence: str | None) -> str | None:
    """A clock that goes wrong by another second is nothing new."""
    return sentence and re.sub(r"\d+ s\b", "", sentence)


def _check(wrong: str | None, *, critical: bool = True) -> Check:
    return Check("healthy") if wrong is None else Check("unhealthy", wrong, critical=critical)


def _say(what: str, sentence: str | None, *, stops: bool) -> None:
    if sentence is None:
        log.info(f"{what}_well")
    elif what == "clock" and not stops:
        log.warning(f"{what}_wrong", hint=sentence)
    else:
        log.error(f"{what}_wrong", hint=sentence, sells=not stops)
