"""A host that pays nobody."""

from executor.upstream.base import Answer, Means, Order, Spending
from executor.upstream.errors import UpstreamOff
from shared.logs import get_logger

log = get_logger(__name__)

OFF = "EXECUTOR_PRIVATE_KEY is not set (nor HTTPAYER_API_KEY), so other providers cannot be paid from here"


class NoUpstream:
    """`Upstream` where nothing is configured: every order is refused before anything is sent."""

    async def open(self) -> None:
        """Say so, once."""
        log.warning("upstream_off", reason=OFF)

    async def close(self) -> None:
        """Nothing to close."""

    def means(self) -> Means:
        return Means(reason=OFF, networks=[], spendable_atomic=0, sends_files=False)

    def spent(self) -> dict[str, int]:
        return {}

    async def send(self, order: Order, spending: Spending) -> Answer:
        raise UpstreamOff(f"{OFF}.")
