"""How often one may ask, and whose word is believed about who asks."""

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from broker.ratelimits import RateLimited, RateLimitMiddleware, RateLimits, parse_limit, parse_proxies
from shared.errors import StartupError


def limits(per_ip: str = "3/minute", redis_url: str | None = None) -> RateLimits:
    return RateLimits(parse_limit(per_ip, "A"), parse_limit("2/minute", "B"), redis_url)


class State:
    """What the middleware finds at `scope["app"].state`."""

    def __init__(self, rate_limits: RateLimits) -> None:
        self.limits = rate_limits
        self.state = self


def client(rate_limits: RateLimits, peer: str, *proxies: str) -> httpx.AsyncClient:
    async def ok(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    middleware = RateLimitMiddleware(ok, parse_proxies(proxies))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await middleware({**scope, "app": State(rate_limits)}, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(peer, 1)), base_url="http://t")


async def test_one_address_is_slowed_down_and_another_is_not() -> None:
    shared = limits()
    async with client(shared, "192.0.2.1") as one, client(shared, "192.0.2.2") as two:
        assert [(await one.get("/")).status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = await one.get("/")
        assert refused.json()["code"] == "rate_limited"
        assert int(refused.headers["Retry-After"]) >= 1
        assert (await two.get("/")).status_code == 200
        assert (await one.get("/health")).status_code == 200


async def test_forwarded_addresses_are_believed_only_from_trusted_proxies() -> None:
    async with client(limits("1/minute"), "192.0.2.1", "10.0.0.0/8") as stranger:
        for number, expected in ((1, 200), (2, 429)):
            answer = await stranger.get("/", headers={"X-Forwarded-For": f"198.51.100.{number}"})
            assert answer.status_code == expected, "a stranger cannot become somebody else"
    async with client(limits("1/minute"), "10.0.0.9", "10.0.0.0/8") as proxy:
        for chain, expected in (
            ("198.51.100.1", 200),
            ("198.51.100.2", 200),
            ("203.0.113.66, 198.51.100.2", 429),
            ("198.51.100.2, 10.1.1.1", 429),
        ):
            answer = await proxy.get("/", headers={"X-Forwarded-For": chain})
            assert answer.status_code == expected, chain


async def test_a_wallet_has_a_limit_of_its_own() -> None:
    counted = limits()
    await counted.count_payer("0xa")
    await counted.count_payer("0xa")
    with pytest.raises(RateLimited):
        await counted.count_payer("0xa")
    await counted.count_payer("0xb")


async def test_without_its_storage_nobody_is_refused() -> None:
    broken = limits("1/minute", "redis://127.0.0.1:9/0")
    await broken.count_ip("192.0.2.1")
    await broken.count_ip("192.0.2.1")


@pytest.mark.parametrize("text", ["fast", "", "10", "10/fortnight"])
def test_a_wrong_limit_is_a_sentence(text: str) -> None:
    with pytest.raises(StartupError, match="RATE_LIMIT_PER_IP"):
        parse_limit(text, "RATE_LIMIT_PER_IP")


def test_a_wrong_proxy_is_a_sentence() -> None:
    with pytest.raises(StartupError, match="TRUSTED_PROXIES"):
        parse_proxies(["everyone"])
