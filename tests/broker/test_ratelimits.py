"""How often one may ask, and whose word is believed about who asks."""

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from broker.ratelimits import RateLimited, RateLimitMiddleware, RateLimits, parse_limit, parse_proxies
from shared.errors import StartupError


def limits(per_ip: str = "3/day", redis_url: str | None = None, *proxies: str) -> RateLimits:
    return RateLimits(parse_limit(per_ip, "A"), parse_limit("2/day", "B"), redis_url, parse_proxies(proxies))


def client(rate_limits: RateLimits, peer: str) -> httpx.AsyncClient:
    async def ok(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    middleware = RateLimitMiddleware(ok, rate_limits)
    return httpx.AsyncClient(transport=httpx.ASGITransport(middleware, client=(peer, 1)), base_url="http://t")


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
    async with client(limits("1/day", None, "10.0.0.0/8"), "192.0.2.1") as stranger:
        for number, expected in ((1, 200), (2, 429)):
            answer = await stranger.get("/", headers={"X-Forwarded-For": f"198.51.100.{number}"})
            assert answer.status_code == expected, "a stranger cannot become somebody else"
    async with client(limits("1/day", None, "10.0.0.0/8"), "10.0.0.9") as proxy:
        for chain, expected in (
            ("198.51.100.1", 200),
            ("198.51.100.2", 200),
            ("203.0.113.66, 198.51.100.2", 429),
            ("198.51.100.2, 10.1.1.1", 429),
        ):
            answer = await proxy.get("/", headers={"X-Forwarded-For": chain})
            assert answer.status_code == expected, chain


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("2001:db8::1%eth0", "[2001:db8::2]:443", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1:1000", "192.0.2.1:1001", True),
        ("unknown", "_hidden", False),
    ],
)
async def test_one_client_is_one_however_it_is_written(one: str, other: str, same: bool) -> None:
    """Whoever has an IPv6 address has a network of them; some proxies name the port, too."""
    forwarded = {"X-Forwarded-For": other}
    proxied = limits("1/day", None, "10.0.0.0/8")
    async with client(proxied, one) as direct, client(proxied, "::ffff:10.0.0.9") as proxy:
        assert (await direct.get("/")).status_code == 200
        assert (await proxy.get("/", headers=forwarded)).status_code == (429 if same else 200)


async def test_a_line_that_the_client_wrote_is_not_taken_for_the_proxys() -> None:
    """The proxy adds a header line of its own behind the client's."""
    async with client(limits("1/day", None, "10.0.0.0/8"), "10.0.0.9") as proxy:
        for number, expected in ((1, 200), (2, 429)):
            lines = [("X-Forwarded-For", f"198.51.100.{number}"), ("X-Forwarded-For", "203.0.113.1")]
            assert (await proxy.get("/", headers=lines)).status_code == expected


async def test_a_request_that_is_counted_twice_costs_one() -> None:
    counted = limits("2/day")
    once, again, over = ({"type": "http", "client": ("192.0.2.1", 1), "headers": []} for _ in range(3))
    for scope in (once, once, again):
        await counted.count_request(scope)
    for _ in range(2):
        with pytest.raises(RateLimited):
            await counted.count_request(over)


async def test_a_wallet_has_a_limit_of_its_own() -> None:
    counted = limits()
    await counted.count_payer("0xa")
    await counted.count_payer("0xa")
    with pytest.raises(RateLimited):
        await counted.count_payer("0xa")
    await counted.count_payer("0xb")


async def test_without_its_storage_nobody_is_refused() -> None:
    broken = limits("1/day", "redis://127.0.0.1:9/0")
    for _ in range(2):
        await broken.count_request({"type": "http", "client": ("192.0.2.1", 1), "headers": []})


@pytest.mark.parametrize("text", ["fast", "", "10", "10/fortnight"])
def test_a_wrong_limit_is_a_sentence(text: str) -> None:
    with pytest.raises(StartupError, match="RATE_LIMIT_PER_IP"):
        parse_limit(text, "RATE_LIMIT_PER_IP")


def test_a_wrong_proxy_is_a_sentence() -> None:
    with pytest.raises(StartupError, match="TRUSTED_PROXIES"):
        parse_proxies(["everyone"])
