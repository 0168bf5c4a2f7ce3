"""All stand-ins together."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.upstream.merit_systems import PATH, MeritSystems
from tests.upstream.openx402 import Openx402
from tests.upstream.shop import Shop
from tests.upstream.xcache import Xcache


@dataclass(frozen=True)
class Upstreams:
    """Each is a `Shop` with its url, pay_to, requests, settled and switches."""

    xcache: Xcache
    openx402: Openx402
    merit_systems: MeritSystems

    @property
    def all(self) -> tuple[Shop, ...]:
        return self.xcache, self.openx402, self.merit_systems

    @property
    def settings(self) -> dict[str, str]:
        """The environment with which quote and executor find them, and nobody else."""
        return {
            "REMOTE_PROVIDERS": "xcache,openx402,merit-systems",
            "XCACHE_URL": self.xcache.url,
            "OPENX402_URL": self.openx402.url,
            "MERIT_SYSTEMS_URL": self.merit_systems.url + PATH,
        }


@contextmanager
def running_upstreams(devnet_url: str) -> Iterator[Upstreams]:
    """Stand-ins that take their payments on the devnet at `devnet_url`, which may start after them."""
    upstreams = Upstreams(Xcache(devnet_url), Openx402(devnet_url), MeritSystems(devnet_url))
    with ExitStack() as stack:
        for shop in upstreams.all:
            shop.start()
            stack.callback(shop.die)
        yield upstreams
