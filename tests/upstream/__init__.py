"""Stand-ins for other people's providers, which are paid with real x402 payments on the devnet.

They speak the wire formats of providers.md: `running_upstreams(devnet_url)` starts all of them.
"""

from tests.upstream.upstreams import Upstreams, running_upstreams

__all__ = ["Upstreams", "running_upstreams"]
