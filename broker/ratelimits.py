"""How often one address and one wallet may ask. Per process, or shared by all brokers through Redis.

Whoever has one IPv6 address has all 2^64 of its network: they count as one.
"""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

from limits import RateLimitItem, parse
from limits.aio.storage import Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.storage import storage_from_string
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.windows import SlidingWindows
from shared.errors import GalaksioError, StartupError, error_response
from shared.http import HEALTH_PATHS
from shared.logs import get_logger

log = get_logger(__name__)

_IPV6_PREFIX = 64
Proxies = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
_OUTCOME = "galaksio.rate_limit"
"""The key in a request's scope under which it is written down that it was counted, and how that went."""


class RateLimited(GalaksioError):
    """Over the limit; `Retry-After` says when it is worth asking again."""

    status = 429
    code = "rate_limited"
    retryable = True

    def __init__(self, who: str, retry_after_s: int) -> None:
        super().__init__(f"too many requests from this {who}; slow down", retry_after_s=retry_after_s)


def parse_limit(text: str, setting: str) -> RateLimitItem:
    """`1200/minute` and the like. Raises `StartupError` naming the setting."""
    try:
        return parse(text)
    except ValueError:
        raise StartupError(f"{setting} must be written like 1200/minute.") from None


def parse_proxies(texts: Iterable[str]) -> Proxies:
    """Addresses and CIDR ranges. Raises `StartupError` for anything else."""
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError:
        raise StartupError("TRUSTED_PROXIES must be addresses or ranges like 10.0.0.0/8.") from None


class RateLimits:
    """Sliding windows per address and per wallet. When their storage is down, nobody is refused.

    `X-Forwarded-For` is believed from `trusted_proxies` only.
    """

    def __init__(
        self,
        per_ip: RateLimitItem,
        per_payer: RateLimitItem,
        redis_url: str | None,
        trusted_proxies: Proxies = (),
    ) -> None:
        self._shared = _shared_windows(redis_url) if redis_url else None
        self._per_ip = _Limit("address", per_ip)
        self._per_payer = _Limit("wallet", per_payer)
        self._proxies = trusted_proxies
        self._is_trusted = lru_cache(maxsize=1024)(self._trusted)

    async def count_request(self, scope: Scope) -> None:
        """Count a request by its client's address, once however often it is asked. Raises `RateLimited`."""
        allowed = scope.get(_OUTCOME)
        if allowed is None:
            allowed = scope[_OUTCOME] = await self._hit(self._per_ip, self.client_of(scope))
        if not allowed:
            raise self._per_ip.refusal()

    async def count_payer(self, wallet: str) -> None:
        """Raises `RateLimited`."""
        if not await self._hit(self._per_payer, wallet):
            raise self._per_payer.refusal()

    async def _hit(self, limit: "_Limit", key: str) -> bool:
        if self._shared is None:
            return limit.windows.hit(key)
        try:
            return await self._shared.hit(limit.item, "galaksio", limit.who, key)
        except Exception as exc:
            log.warning("rate_limits_unavailable", error=type(exc).__name__)
            return True

    def client_of(self, scope: Scope) -> str:
        """Who asks: an IPv4 address, an IPv6 network, or at most 64 characters of a proxy's that are neither.

        It is the peer, or what the nearest trusted proxy says it was: the last address not trusted itself.
        """
        return _client_at(self._address(scope))

    def _address(self, scope: Scope) -> str:
        peer = str((scope.get("client") or ("unknown",))[0])
        if not self._proxies or not self._is_trusted(peer):
            return peer
        # A proxy may add a line of its own instead of lengthening the client's: all of them are one list.
        lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        named = b",".join(lines).decode("latin-1").split(",")
        for address in reversed([part.strip() for part in named if part.strip()]):
            if not self._is_trusted(address[:64]):
                return address[:64]
        return peer

    def _trusted(self, address: str) -> bool:
        number = _number(address)
        return number is not None and any(number in network for network in self._proxies)


class _Limit:
    """One limit, and its counts in this process. `who` it is about is said in the refusal."""

    def __init__(self, who: str, item: RateLimitItem) -> None:
        self.who = who
        self.item = item
        self.windows = SlidingWindows(item.amount, item.get_expiry())

    def refusal(self) -> RateLimited:
        return RateLimited(self.who, max(1, self.item.get_expiry() // 10))


@lru_cache(maxsize=4096)
def _client_at(address: str) -> str:
    number = _number(address)
    if isinstance(number, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(number), _IPV6_PREFIX), strict=False))
    return address if number is None else str(number)


def _number(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Of an address as sockets and proxies write it, `[2001:db8::1]:443` and `192.0.2.1:443` among them."""
    if address.startswith("["):
        address = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        address = address.partition(":")[0]
    try:
        number = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    # How a socket that takes both kinds sees an IPv4 peer.
    return getattr(number, "ipv4_mapped", None) or number


def _shared_windows(redis_url: str) -> SlidingWindowCounterRateLimiter:
    storage = storage_from_string(f"async+{redis_url}", implementation="redispy")
    if not isinstance(storage, Storage):
        raise StartupError("REDIS_URL must begin with redis:// or rediss://.")
    return SlidingWindowCounterRateLimiter(storage)


_CACHE_PATH = re.compile(r"/(cache|redis)/[^/\n]+(/[^\n]*)?")
_TOP_UP = "/topup"


def counts_itself(path: str) -> bool:
    """Operations on a cache are paid for; its routes count what comes to nothing (`CacheRoute`)."""
    return _CACHE_PATH.fullmatch(path) is not None and not path.endswith(_TOP_UP)


class RateLimitMiddleware:
    """Counts requests by the client's address before anything else is done, but for health and caches."""

    def __init__(self, app: ASGIApp, limits: RateLimits) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in HEALTH_PATHS and not counts_itself(scope["path"]):
            try:
                await self.limits.count_request(scope)
            except RateLimited as exc:
                await error_response(exc)(scope, receive, send)
                return
        await self.app(scope, receive, send)
