"""What facilitator, node and clocks say, judged: one sentence for each thing that is wrong."""

from dataclasses import dataclass

from broker.payments.chain import Head
from broker.payments.settlement import Supported
from shared.networks import Network

SKEW_WARN_S, SKEW_STOP_S = 30, 120
"""How wrong the clock may be: authorizations are signed for a few minutes."""
UNTIL_THEY_AGREE = "Nothing is sold until they agree."


@dataclass(frozen=True)
class Findings:
    """What a look said: a sentence for what is wrong, or None. `stops` is why nothing is sold.

    `contradicts` is the sentence about settings that are certainly wrong: a broker does not start with them.
    `versions` is about buyers whose payments the facilitator would refuse: nobody loses by it, and it is no
    trouble of the moment.
    """

    facilitator: str | None = None
    chain: str | None = None
    clock: str | None = None
    stops: str | None = None
    contradicts: str | None = None
    versions: str | None = None

    @property
    def well(self) -> bool:
        """Whether there is nothing of which one could hope that it will soon be over."""
        return self.facilitator is None and self.chain is None and self.clock is None


@dataclass(frozen=True)
class Judge:
    """Knows what was set: the network, the facilitator's `url`, and whether a chain is asked."""

    network: Network
    url: str
    asks_chain: bool

    def findings(self, supported: Supported | None, head: Head | None, now_s: float) -> Findings:
        """None is for who did not answer; `now_s` is this machine's clock."""
        skew_s = _skew_s(supported, head, now_s)
        clock = _of_skew(skew_s)
        wrong = clock if abs(skew_s) > SKEW_STOP_S else None
        other_network = self._other_network(supported)
        other_chain = self._other_chain(head) or self._half_a_devnet(supported, head)
        facilitator = other_network and f"{other_network} {UNTIL_THEY_AGREE}"
        chain = other_chain and f"{other_chain} {UNTIL_THEY_AGREE}"
        # A facilitator that offers nothing at all may be in trouble, and be right later.
        certain = other_network if supported is not None and supported.kinds else None
        return Findings(
            facilitator=facilitator or self._silent_facilitator(supported),
            chain=chain or self._silent_chain(head),
            clock=clock,
            stops=facilitator or chain or wrong,
            contradicts=certain or other_chain,
            versions=self._missing_version(supported),
        )

    def _silent_facilitator(self, supported: Supported | None) -> str | None:
        if supported is not None:
            return None
        return (
            f"The facilitator at {self.url} does not answer, so that nothing can be paid: is "
            "X402_FACILITATOR_URL right, and can this machine reach it?"
        )

    def _silent_chain(self, head: Head | None) -> str | None:
        if not self.asks_chain or head is not None:
            return None
        return "The node at CHAIN_RPC_URL does not answer: unclear settlements stay unclear."

    def _other_network(self, supported: Supported | None) -> str | None:
        if supported is None or self._versions(supported):
            return None
        offered = ", ".join(sorted({network for _, network in supported.kinds})[:5]) or "no network at all"
        devnet = " (a devnet, whose dollars are worth nothing)" if supported.devnet else ""
        return (
            f"The facilitator at {self.url}{devnet} does not settle on {self.network.name}, but on "
            f"{offered}: set X402_FACILITATOR_URL or X402_NETWORK."
        )

    def _missing_version(self, supported: Supported | None) -> str | None:
        missing = {1, 2} - self._versions(supported) if supported is not None else set()
        if len(missing) != 1:  # both: it is for another network, or offers nothing
            return None
        return (
            f"The facilitator at {self.url} does not take payments of x402 version {missing.pop()} on "
            f"{self.network.name}: buyers who pay by it are refused, nothing is charged. Another facilitator "
            "(X402_FACILITATOR_URL) may take both."
        )

    def _versions(self, supported: Supported) -> set[int]:
        return {version for version, network in supported.kinds if self.network.matches(network)}

    def _other_chain(self, head: Head | None) -> str | None:
        if head is None or head.chain_id == self.network.chain_id:
            return None
        return (
            f"The node at CHAIN_RPC_URL is on chain {head.chain_id}, and {self.network.name} is "
            f"{self.network.chain_id}: set CHAIN_RPC_URL or X402_NETWORK."
        )

    def _half_a_devnet(self, supported: Supported | None, head: Head | None) -> str | None:
        """The devnet has the chain id of base-sepolia, and knows nothing of what is settled there."""
        if supported is None or head is None or head.devnet in {None, supported.devnet}:
            return None
        if supported.devnet:
            return (
                f"The facilitator at {self.url} is a devnet's, and the node at CHAIN_RPC_URL is none: set "
                f"CHAIN_RPC_URL={self.url}/rpc, or X402_FACILITATOR_URL to one of {self.network.name} itself."
            )
        # One on this machine or network may be another program, and settle on the devnet.
        if not self.url.startswith("https:"):
            return None
        return (
            f"The node at CHAIN_RPC_URL is a devnet's, and the facilitator at {self.url} is none: set both "
            f"to the devnet's, or both to those of {self.network.name} itself."
        )


def _skew_s(supported: Supported | None, head: Head | None, now_s: float) -> int:
    """How far this clock is ahead: by the facilitator's, else by a block that comes out of the future.

    An old block says nothing, since nobody knows how late it is seen.
    """
    if supported is not None and supported.now_s is not None:
        return round(now_s - supported.now_s)
    return min(0, round(now_s - head.time_s)) if head is not None else 0


def _of_skew(skew_s: int) -> str | None:
    if abs(skew_s) <= SKEW_WARN_S:
        return None
    direction = "ahead" if skew_s > 0 else "behind"
    said = f"This machine's clock is {abs(skew_s)} s {direction}: have it set by NTP."
    if abs(skew_s) <= SKEW_STOP_S:
        return said
    return f"{said} Nothing is sold until it is right, because good payments would be judged wrong."
