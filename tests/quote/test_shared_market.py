"""Several quote processes share what the providers said through Redis, and none of them depends on it."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from quote import shelf as shelf_module
from quote.market import Market
from quote.providers.base import Decline, Failed
from quote.shelf import Shelf, name_of
from shared.breaker import FAILURES
from shared.errors import StartupError
from tests.quote.test_market import Provider, settled
from tests.support.ports import free_port
from tests.support.valkey import new_valkey, running

NewMarket = Callable[..., Market]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quote does without a Redis that takes a quarter of a second: on a busy machine one may."""
    monkeypatch.setattr(shelf_module, "TIMEOUT_S", 20.0)


@pytest.fixture
async def new_market(valkey_url: str) -> AsyncIterator[NewMarket]:
    """Markets of processes that share one Valkey, and with nobody else."""
    made: list[Market] = []
    scope = uuid.uuid4().hex

    def create(scope: str = scope, url: str = valkey_url, **more: Any) -> Market:
        made.append(Market(shelf=Shelf(url, scope), **{"flight_s": 60.0, **more}))
        return made[-1]

    yield create
    for market in made:
        await market.close()


async def test_parallel_askers_in_two_processes_cost_one_call(new_market: NewMarket) -> None:
    one, two, provider = new_market(), new_market(), Provider()
    provider.gate.clear()
    askers = [asyncio.create_task(market.ask("p", "k", provider)) for market in (one, two) * 50]
    while not provider.asked:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    provider.gate.set()
    assert await asyncio.gather(*askers) == [{"price": 1}] * 100
    assert provider.asked == 1


async def test_one_process_believes_what_another_was_told(new_market: NewMarket) -> None:
    price, refusal = Provider({"price": 7, "text": "\ud800 é"}), Provider(Decline("not that"))
    one = new_market()
    await one.ask("p", "k", price)
    with pytest.raises(Decline):
        await one.ask("p", "no", refusal)
    two = new_market()
    with pytest.raises(Decline, match="not that") as caught:
        await two.ask("p", "no", refusal)
    assert type(caught.value) is Decline
    assert refusal.asked == 1
    # A lone surrogate does not come back from JSON that is read strictly: then it is asked again.
    assert (await two.ask("p", "k", price))["price"] == 7


async def test_hosts_that_ask_other_addresses_share_nothing(new_market: NewMarket) -> None:
    provider = Provider()
    await new_market().ask("p", "k", provider)
    await new_market(scope="another host").ask("p", "k", provider)
    assert provider.asked == 2


async def test_a_price_lives_in_redis_as_long_as_it_holds_and_its_key_tells_nothing(
    new_market: NewMarket, valkey_url: str
) -> None:
    secret, scope = f"region-{uuid.uuid4().hex}", uuid.uuid4().hex
    await new_market(scope, ttl_s=100).ask("p", secret, Provider())
    prefix = Shelf(None, scope)._key("")
    assert prefix.startswith("galaksio:quote:1:")
    async with Redis.from_url(valkey_url) as redis:
        keys = [key async for key in redis.scan_iter(f"{prefix}*")]
        (life_ms,) = [await redis.pttl(key) for key in keys if b":p:" in key]
        claims = [key for key in keys if b":claim:" in key]
    assert 70_000 < life_ms <= 100_000
    assert claims == []
    assert all(secret.encode() not in key for key in keys)


@pytest.mark.parametrize(
    "rubbish", [b"", b"[]", b"{}", b"\xff", b'{"until": 1e30, "got_at": 0}', b"[" * 5000]
)
async def test_rubbish_in_redis_is_asked_over(new_market: NewMarket, valkey_url: str, rubbish: bytes) -> None:
    provider, scope = Provider(), uuid.uuid4().hex
    await new_market(scope).ask("p", "k", provider)
    async with Redis.from_url(valkey_url) as redis:
        prefix = Shelf(None, scope)._key("")
        for key in [key async for key in redis.scan_iter(f"{prefix}*")]:
            await redis.set(key, rubbish)
    other = new_market(scope)
    await other.open()
    assert await other.ask("p", "k", provider) == {"price": 1}
    assert provider.asked == 2


async def test_an_answer_that_would_last_longer_than_ours_is_not_believed(new_market: NewMarket) -> None:
    provider = Provider()
    await new_market(ttl_s=3600).ask("p", "k", provider)
    await new_market(ttl_s=60).ask("p", "k", provider)
    assert provider.asked == 2


async def test_what_was_measured_outlives_a_restart(new_market: NewMarket) -> None:
    market = new_market()
    await market.ask("p", "a", Provider())
    with pytest.raises(Failed):
        await market.ask("p", "b", Provider(Failed("it answered 500")))
    market.measures.priced("cache", "p", "0.01", {"region": "eu"})
    await market.close()
    restarted = new_market()
    await restarted.open()
    probes = restarted.measures.probes("p")
    assert probes.success_rate == 0.5
    assert probes.last_error is not None
    assert probes.last_error.text == "it answered 500"
    sample = restarted.measures.sample("cache", "p")
    assert sample is not None
    assert (sample.price_usd, sample.of) == ("0.01", {"region": "eu"})
    for number in range(30):
        await restarted.ask("p", f"{number}", Provider())
    assert restarted.measures.probes("p").success_rate == 1.0


async def test_a_process_that_dies_while_it_asks_holds_the_others_up_for_a_moment_only(
    new_market: NewMarket,
) -> None:
    one, two, provider = new_market(flight_s=0.3), new_market(), Provider()
    assert await one._shelf.claim(name_of("p", "k"), "dead", 0.3)
    assert await two.ask("p", "k", provider) == {"price": 1}
    assert provider.asked == 1


async def test_nobody_waits_forever_for_another_process(new_market: NewMarket) -> None:
    market, provider = new_market(flight_s=0.2), Provider()
    assert await market._shelf.claim(name_of("p", "k"), "another", 60)
    with pytest.raises(Failed, match="another process"):
        await market.ask("p", "k", provider)
    assert provider.asked == 0
    assert market.breaker("p").circuit == "closed"


async def test_a_claim_is_released_only_by_its_owner(new_market: NewMarket) -> None:
    shelf = new_market()._shelf
    assert await shelf.claim("x", "one", 60)
    await shelf.release("x", "two")
    assert not await shelf.claim("x", "two", 60)
    await shelf.release("x", "one")
    assert await shelf.claim("x", "two", 60)


async def test_what_was_told_between_a_look_and_a_claim_is_not_asked_again(
    new_market: NewMarket, valkey_url: str
) -> None:
    class Overtaken(Shelf):
        async def claim(self, name: str, owner: str, ttl_s: float) -> bool:
            await other.ask("p", "k", provider)
            return await super().claim(name, owner, ttl_s)

    scope, provider = uuid.uuid4().hex, Provider()
    other = new_market(scope)
    market = Market(shelf=Overtaken(valkey_url, scope), flight_s=60)
    assert await market.ask("p", "k", provider) == {"price": 1}
    assert provider.asked == 1
    await market.close()


async def test_an_open_circuit_is_tried_even_if_another_process_was_told_something(
    new_market: NewMarket,
) -> None:
    now = [time.time()]
    one, two = new_market(clock=lambda: now[0]), new_market()
    await two.ask("p", "k", Provider())
    for number in range(FAILURES):
        with pytest.raises(Failed):
            await one.ask("p", f"{number}", Provider(Failed("down")))
    now[0] += one.breaker("p").rests_s
    provider = Provider({"price": 2})
    assert await one.ask("p", "k", provider) == {"price": 2}


async def test_a_redis_that_dies_in_the_middle_costs_nobody_a_price(
    tmp_path: Path, new_market: NewMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf_module, "DOWN_S", 0.1)
    valkey, provider = new_valkey(tmp_path), Provider()
    with running(valkey):
        market = new_market(url=valkey.url)
        await market.ask("p", "before", provider)
        provider.gate.clear()
        asker = asyncio.create_task(market.ask("p", "while", provider))
        while provider.asked < 2:
            await asyncio.sleep(0.01)
    provider.gate.set()
    assert await asker == {"price": 1}
    for key in ("before", "while", "after"):
        assert await market.ask("p", key, provider) == {"price": 1}
    assert provider.asked == 3
    with running(valkey):
        await asyncio.sleep(0.2)
        await market.ask("p", "again", provider)
        other = new_market(url=valkey.url)
        await other.ask("p", "again", provider)
    assert provider.asked == 4


async def test_a_redis_that_hangs_is_waited_for_once(
    new_market: NewMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf_module, "TIMEOUT_S", 0.25)
    monkeypatch.setattr(shelf_module, "DOWN_S", 60.0)

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    held: list[asyncio.StreamWriter] = []
    port = free_port()
    server = await asyncio.start_server(hang, "127.0.0.1", port)
    market, provider = new_market(url=f"redis://127.0.0.1:{port}"), Provider()
    for number in range(20):
        await market.ask("p", f"{number}", provider)
    assert provider.asked == 20
    assert len(held) == 1
    for writer in held:
        writer.close()
    server.close()


async def test_a_redis_that_is_not_there_is_no_matter(new_market: NewMarket) -> None:
    market, provider = new_market(url=f"redis://127.0.0.1:{free_port()}"), Provider()
    await market.open()
    assert await market.ask("p", "k", provider) == {"price": 1}
    await settled()
    assert provider.asked == 1


def test_an_address_of_something_else_is_refused_at_the_start() -> None:
    with pytest.raises(StartupError, match="REDIS_URL must begin"):
        Shelf("http://localhost:6379")
