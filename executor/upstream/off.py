"""A host that pays nobody."""

from executor.upstream.base import Answer, Means, Order, Spending
from executor.upstream.errors import UpstreamOff

OFF = "EXECUTOR_PRIVATE_KEY is not set, so other providers cannot be paid from here"


class NoUpstream:
    """`Upstream` where nothing is configured: every order is refused before anything is sent."""

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def means(self) -> Means:
        return Means(reason=OFF, networks=[], spendable_atomic=0, sends_files=False)

    async def send(self, order: Order, spending: Spending) -> Answer:
        raise UpstreamOff(f"{OFF}.")
