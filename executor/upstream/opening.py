"""The `Upstream` that the settings ask for.

What pays imports web3 by way of the x402 package: 1.3 s of CPU and 20 MB that most hosts have no use for, so
it is imported where it is asked for.
"""

from typing import TYPE_CHECKING

from executor.results import open_database
from executor.settings import ExecutorSettings
from executor.upstream.base import Upstream
from executor.upstream.off import NoUpstream
from shared.clock import Clock
from shared.errors import StartupError
from shared.money import usd_to_atomic
from shared.settings import private_folder

if TYPE_CHECKING:
    from executor.upstream.journal import Journal

SHARED_WALLET = (
    "EXECUTOR_PRIVATE_KEY is the key of X402_WALLET_ADDRESS, so that whoever takes this executor over takes "
    "all that you earn: set the key of another wallet, which holds what may be spent, and keep that of the "
    "wallet that is paid off this machine."
)


def choose_upstream(settings: ExecutorSettings, clock: Clock) -> Upstream:
    """With a key of its own, through HTTPayer, or none at all. Opens nothing.

    Raises `StartupError` for a database, a network or a router that cannot be used, and for the key of the
    wallet that customers pay.
    """
    if settings.private_key is not None:
        return _with_key(settings, settings.private_key.get_secret_value(), clock)
    if settings.httpayer_api_key is not None:
        return _through_httpayer(settings, settings.httpayer_api_key.get_secret_value(), clock)
    return NoUpstream()


def _with_key(settings: ExecutorSettings, key: str, clock: Clock) -> Upstream:
    from executor.upstream.chain import Chain
    from executor.upstream.payer import Payer
    from executor.upstream.purse import Purse
    from executor.upstream.wallet import Wallet
    from shared.networks import PUBLIC_RPC, network_named

    network = network_named(settings.x402_network)
    rpc_url = settings.chain_rpc_url or PUBLIC_RPC.get(network.name)
    wallet = Wallet(key)
    if wallet.address.lower() == (settings.wallet_address or "").strip().lower():
        raise StartupError(SHARED_WALLET)
    journal = _journal(settings, clock)
    purse = Purse(journal, clock, Chain(rpc_url, network) if rpc_url else None, wallet.address)
    return Payer(wallet, network, journal, purse, clock)


def _through_httpayer(settings: ExecutorSettings, api_key: str, clock: Clock) -> Upstream:
    from executor.upstream.choosing import is_safe
    from executor.upstream.httpayer import HTTPayer
    from executor.upstream.purse import Purse
    from shared.networks import network_named

    if not is_safe(settings.httpayer_router_url):
        raise StartupError(
            "HTTPAYER_ROUTER_URL must begin with https://, or the key for it could be read on the way."
        )
    journal = _journal(settings, clock)
    network = network_named(settings.x402_network)
    return HTTPayer(settings.httpayer_router_url, api_key, network, journal, Purse(journal, clock))


def _journal(settings: ExecutorSettings, clock: Clock) -> "Journal":
    from executor.upstream.journal import Journal, Limits

    folder = private_folder(settings.galaksio_home)
    limits = Limits(
        usd_to_atomic(settings.upstream_max_call_usd), usd_to_atomic(settings.upstream_max_day_usd)
    )
    return Journal(open_database(settings.database_url, folder, "upstream.sqlite"), clock, limits)
