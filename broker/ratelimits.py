"""How often one address and one wallet may ask. Per process, or shared by all brokers through Redis."""

import ipaddress
from collections.abc import Iterable

from limits import RateLimitItem, parse
from limits.aio.storage import Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.storage import storage_from_string
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.errors import GalaksioError, StartupError, error_response
from shared.http import HEALTH_PATHS
from shared.logs import get_logger

log = get_logger(__name__)

Proxies = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


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
    """Sliding windows per address and per wallet. When their storage is down, nobody is refused."""

    def __init__(self, per_ip: RateLimitItem, per_payer: RateLimitItem, redis_url: str | None) -> None:
        storage = (
            storage_from_string(f"async+{redis_url}", implementation="redispy")
            if redis_url
            else storage_from_string("async+memory://")
        )
        if not isinstance(storage, Storage):
            raise StartupError("REDIS_URL must begin with redis:// or rediss://.")
        self._windows = SlidingWindowCounterRateLimiter(storage)
        self._per_ip = per_ip
        self._per_payer = per_payer

    async def count_ip(self, address: str) -> None:
        """Raises `RateLimited`."""
        await self._count(self._per_ip, "address", address)

    async def count_payer(self, wallet: str) -> None:
        """Raises `RateLimited`."""
        await self._count(self._per_payer, "wallet", wallet)

    async def _count(self, limit: RateLimitItem, who: str, key: str) -> None:
        try:
            allowed = await self._windows.hit(limit, "galaksio", who, key)
        except Exception as exc:
            log.warning("rate_limits_unavailable", error=type(exc).__name__)
            return
        if not allowed:
            raise RateLimited(who, max(1, limit.get_expiry() // 10))


class RateLimitMiddleware:
    """Counts every request but health checks by the client's address, before anything else is done."""

    def __init__(self, app: ASGIApp, trusted_proxies: Proxies) -> None:
        self.app = app
        self.trusted_proxies = trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in HEALTH_PATHS:
            limits: RateLimits = scope["app"].state.limits
            try:
                await limits.count_ip(self._client(scope))
            except RateLimited as exc:
                await error_response(exc)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _client(self, scope: Scope) -> str:
        """The peer, or what the nearest trusted proxy says it was: the last address not trusted itself."""
        peer = str((scope.get("client") or ("unknown",))[0])
        if not self._trusted(peer):
            return peer
        named = Headers(scope=scope).get("x-forwarded-for", "").split(",")
        for address in reversed([part.strip() for part in named if part.strip()]):
            if not self._trusted(address):
                return address[:64]
        return peer

    def _trusted(self, address: str) -> bool:
        try:
            number = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(number in network for network in self.trusted_proxies)
