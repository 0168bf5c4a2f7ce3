"""Each remote provider is asked only so often, however many want to know, and none is waited for in vain."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from quote import market as market_module
from quote.horizon import look
from quote.kept import DUE, FAILED_S, LEFT_S, SHORTER
from quote.market import Market
from quote.providers.base import Decline, Failed
from shared.breaker import FAILURES

TTL_S = 300.0


class Provider:
    """Answers as told, counts, and waits for `gate` first."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = {"price": 1} if answer is None else answer
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> dict[str, Any]:
        self.asked += 1
        await self.gate.wait()
        if isinstance(self.answer, BaseException):
            raise self.answer
        found: dict[str, Any] = self.answer
        return found


class Time:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def market(time: Time) -> AsyncIterator[Market]:
    one = Market(ttl_s=TTL_S, clock=time, flight_s=60)
    yield one
    await one.close()


async def settled() -> None:
    """What goes on in the background has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_hundred_parallel_askers_of_one_key_cost_one_call(market: Market) -> None:
    provider = Provider()
    provider.gate.clear()
    askers = [asyncio.create_task(market.ask("p", "k", provider)) for _ in range(100)]
    await settled()
    provider.gate.set()
    assert await asyncio.gather(*askers) == [{"price": 1}] * 100
    assert provider.asked == 1


async def test_other_keys_and_other_providers_are_other_questions(market: Market) -> None:
    provider = Provider()
    for name, key in (("p", "a"), ("p", "b"), ("q", "a"), ("p", "a")):
        await market.ask(name, key, provider)
    assert provider.asked == 3


async def test_an_answer_is_kept_for_its_time_and_not_longer(market: Market, time: Time) -> None:
    provider = Provider()
    await market.ask("p", "k", provider)
    time.now += (TTL_S * (1 - SHORTER) - LEFT_S) * DUE - 1
    await market.ask("p", "k", provider)
    await settled()
    assert provider.asked == 1
    time.now += TTL_S
    provider.answer = {"price": 2}
    assert await market.ask("p", "k", provider) == {"price": 2}
    assert provider.asked == 2


async def test_a_price_that_is_told_holds_for_a_while_yet(market: Market, time: Time) -> None:
    """Or it is asked for again first."""
    provider = Provider()
    for _ in range(200):
        horizon = look()
        await market.ask("p", "k", provider)
        assert LEFT_S - 1e-3 <= horizon.until - time.now <= TTL_S
        time.now += 7.3
    assert provider.asked < 200 * 7.3 / (TTL_S / 2)


async def test_an_old_answer_is_told_while_one_asks_for_a_new_one(market: Market, time: Time) -> None:
    provider = Provider()
    await market.ask("p", "k", provider)
    time.now += (TTL_S - LEFT_S) * DUE + 1
    provider.answer = {"price": 2}
    provider.gate.clear()
    for _ in range(3):
        assert await market.ask("p", "k", provider) == {"price": 1}
        await settled()
    assert provider.asked == 2
    provider.gate.set()
    await settled()
    assert await market.ask("p", "k", provider) == {"price": 2}
    assert provider.asked == 2


async def test_an_old_answer_that_holds_survives_a_provider_that_fails_meanwhile(
    market: Market, time: Time
) -> None:
    provider = Provider()
    await market.ask("p", "k", provider)
    time.now += (TTL_S - LEFT_S) * DUE + 1
    provider.answer = Failed("down")
    for _ in range(3):
        assert await market.ask("p", "k", provider) == {"price": 1}
        await settled()
    assert provider.asked == 2
    assert market.measures.probes("p").success_rate == 0.5


@pytest.mark.parametrize(
    ("raised", "kind", "text"),
    [
        (Decline("files over 1 MB are not taken"), Decline, "files over 1 MB"),
        (Failed("it answered 500"), Failed, "it answered 500"),
        (httpx.ConnectError("secret"), Failed, "it does not answer"),
        (httpx.ReadTimeout("secret"), Failed, "it does not answer"),
        (ConnectionResetError("secret"), Failed, "it does not answer"),
        (RuntimeError("secret"), Failed, "the provider failed"),
        (RecursionError("secret"), Failed, "the provider failed"),
    ],
)
async def test_what_goes_wrong_is_told_to_everybody_for_a_short_time(
    market: Market, time: Time, raised: Exception, kind: type[Decline], text: str
) -> None:
    provider = Provider(raised)
    for _ in range(3):
        with pytest.raises(Decline, match=text) as caught:
            await market.ask("p", "k", provider)
        assert type(caught.value) is kind
    assert provider.asked == 1
    assert "secret" not in str(market.measures.probes("p"))
    time.now += FAILED_S if kind is Failed else 60
    provider.answer = {"price": 3}
    assert await market.ask("p", "k", provider) == {"price": 3}


@pytest.mark.parametrize("answer", [{"price": {1, 2}}, {"price": float("nan")}, {"price": b"1"}])
async def test_what_is_not_json_is_a_failure_here_as_it_would_be_elsewhere(
    market: Market, answer: Any
) -> None:
    with pytest.raises(Failed):
        await market.ask("p", "k", Provider(answer))


async def test_a_failure_is_never_kept_for_longer_than_a_price(time: Time) -> None:
    market, provider = Market(ttl_s=2, clock=time), Provider(Failed("down"))
    with pytest.raises(Failed):
        await market.ask("p", "k", provider)
    time.now += 2
    provider.answer = {"price": 1}
    assert await market.ask("p", "k", provider) == {"price": 1}


async def test_one_that_hangs_is_a_failure_and_costs_the_next_asker_nothing(time: Time) -> None:
    market, provider = Market(ttl_s=TTL_S, clock=time, flight_s=0.2), Provider()
    provider.gate.clear()
    with pytest.raises(Failed, match=r"no answer within 0\.2 s"):
        await market.ask("p", "k", provider)
    with pytest.raises(Failed):
        await asyncio.wait_for(market.ask("p", "k", provider), 10)
    assert provider.asked == 1
    await market.close()


async def test_an_answer_that_comes_after_its_asker_left_is_there_for_the_next_one(market: Market) -> None:
    provider = Provider()
    provider.gate.clear()
    asker = asyncio.create_task(market.ask("p", "k", provider))
    await settled()
    asker.cancel()
    await asyncio.gather(asker, return_exceptions=True)
    assert asker.cancelled()
    provider.gate.set()
    await settled()
    assert await market.ask("p", "k", provider) == {"price": 1}
    assert provider.asked == 1


async def test_one_that_keeps_failing_is_not_asked_until_a_pause_has_passed(
    market: Market, time: Time
) -> None:
    good, bad = Provider(), Provider(Failed("down"))
    await market.ask("p", "good", good)
    for number in range(FAILURES + 2):
        with pytest.raises(Decline):
            await market.ask("p", f"bad{number}", bad)
    assert bad.asked == FAILURES
    # What it said before it failed is not told either: its work would fail as well.
    with pytest.raises(Decline, match="it keeps failing"):
        await market.ask("p", "good", good)
    await market.ask("other", "good", good)
    time.now += market.breaker("p").rests_s
    good.answer = {"price": 2}
    assert await market.ask("p", "good", good) == {"price": 2}
    assert market.breaker("p").circuit == "closed"
    bad.answer = {"price": 9}
    assert await market.ask("p", "another", bad) == {"price": 9}


async def test_only_one_tries_a_provider_after_its_pause(market: Market, time: Time) -> None:
    bad = Provider(Failed("down"))
    for number in range(FAILURES):
        with pytest.raises(Failed):
            await market.ask("p", f"bad{number}", bad)
    time.now += market.breaker("p").rests_s
    provider = Provider()
    provider.gate.clear()
    askers = [asyncio.create_task(market.ask("p", f"k{number}", provider)) for number in range(10)]
    await settled()
    assert provider.asked == 1
    provider.gate.set()
    answers = await asyncio.gather(*askers, return_exceptions=True)
    assert sum(answer == {"price": 1} for answer in answers) == 1
    assert sum(isinstance(answer, Decline) for answer in answers) == 9
    assert await market.ask("p", "k9", provider) == {"price": 1}


async def test_what_it_does_not_sell_never_opens_the_circuit(market: Market) -> None:
    provider = Provider(Decline("not that"))
    for number in range(3 * FAILURES):
        with pytest.raises(Decline, match="not that"):
            await market.ask("p", f"k{number}", provider)
    assert market.breaker("p").circuit == "closed"
    assert market.measures.probes("p").success_rate == 1.0


async def test_keys_are_bounded_and_the_longest_unused_goes_first(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_module, "MAX_KEYS", 3)
    provider = Provider()
    for key in ("a", "b", "c", "a", "d"):
        await market.ask("p", key, provider)
    assert provider.asked == 4
    await market.ask("p", "a", provider)
    assert provider.asked == 4
    await market.ask("p", "b", provider)
    assert provider.asked == 5


async def test_open_questions_are_bounded(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_module, "MAX_FLIGHTS", 2)
    provider = Provider()
    provider.gate.clear()
    askers = [asyncio.create_task(market.ask("p", key, provider)) for key in "ab"]
    await settled()
    with pytest.raises(Decline, match="too many questions"):
        await market.ask("p", "c", provider)
    provider.gate.set()
    await asyncio.gather(*askers)
    assert await market.ask("p", "c", provider) == {"price": 1}


async def test_a_clock_that_was_set_back_does_not_make_answers_eternal(market: Market, time: Time) -> None:
    provider = Provider()
    await market.ask("p", "k", provider)
    time.now -= 86_400
    await market.ask("p", "k", provider)
    assert provider.asked == 2


async def test_whatever_may_change_an_answer_is_a_change(market: Market, time: Time) -> None:
    provider = Provider()
    seen = [market.changes]
    await market.ask("p", "k", provider)
    seen.append(market.changes)
    await market.ask("p", "k", provider)
    assert market.changes == seen[1] > seen[0]
    provider.answer = Failed("down")
    for number in range(FAILURES):
        with pytest.raises(Failed):
            await market.ask("p", f"{number}", provider)
        assert market.changes > seen[-1]
        seen.append(market.changes)


async def test_closing_ends_what_is_open(time: Time) -> None:
    market, provider = Market(clock=time), Provider()
    provider.gate.clear()
    asker = asyncio.create_task(market.ask("p", "k", provider))
    await settled()
    await market.close()
    assert await asyncio.gather(asker, return_exceptions=True) != [{"price": 1}]
    assert len(asyncio.all_tasks()) == 1


async def test_what_is_measured_of_a_provider(market: Market, time: Time) -> None:
    probes = market.measures.probes("p")
    assert (probes.success_rate, probes.typical_ms, probes.last_error, probes.last_asked) == (None,) * 4
    provider = Provider()
    for number in range(30):
        provider.answer = Failed("it answered 500") if number == 27 else {"price": 1}
        await asyncio.gather(market.ask("p", f"{number}", provider), return_exceptions=True)
    probes = market.measures.probes("p")
    assert probes.success_rate == 0.95
    assert probes.typical_ms is not None
    assert probes.typical_ms < 1000
    assert probes.last_error is not None
    assert (probes.last_error.text, probes.last_error.at) == ("it answered 500", "2027-01-15T08:00:00.000Z")
    assert probes.last_asked == "2027-01-15T08:00:00.000Z"
