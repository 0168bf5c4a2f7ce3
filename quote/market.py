"""What the remote providers said last: each is asked only so often, however many want to know."""

import asyncio
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from quote.horizon import used
from quote.kept import Keeping, Kept
from quote.measures import Measures
from quote.providers.base import Decline, Failed, Resting
from quote.shelf import Shelf, name_of
from shared.breaker import Breaker
from shared.clock import Clock, system_clock
from shared.logs import get_logger

log = get_logger(__name__)

FLIGHT_S = 5.0
"""How long a question may take; its asker may be gone by then."""
MAX_KEYS = 1024
MAX_FLIGHTS = 256
LOOK_AGAIN_S = 0.05
"""While another process asks."""
MEASURES, MEASURES_S = "measures", 7 * 86_400.0

Fetch = Callable[[], Awaitable[dict[str, Any]]]
"""Asks a provider. Returns JSON; raises `Decline`, `Failed`, or whatever goes wrong on the way."""
Place = tuple[str, str]
"""A provider and a key."""


class Market:
    """Answers of remote providers by provider and key. A key holds nothing of a customer's.

    Prices are kept for `ttl_s`, here and on the `shelf` that other processes see; so are refusals, for a
    shorter time. Of many who ask for one key, in whichever process, one asks the provider.
    """

    def __init__(
        self,
        *,
        ttl_s: float = 300.0,
        clock: Clock = system_clock,
        shelf: Shelf | None = None,
        flight_s: float = FLIGHT_S,
    ) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        self._keeping = Keeping(ttl_s, clock)
        self._shelf = shelf or Shelf()
        self._flight_s = flight_s
        self._kept: OrderedDict[Place, Kept] = OrderedDict()
        self._flights: dict[Place, asyncio.Task[Kept]] = {}
        self._breakers: dict[str, Breaker] = {}
        self._owner = secrets.token_hex(8)
        self.measures = Measures(clock)
        self.changes = 0
        """Grows whenever an answer given before might be another one now."""

    async def open(self) -> None:
        """Remember what was measured before a restart."""
        if saved := await self._shelf.get(MEASURES):
            self.measures.load(saved)

    async def close(self) -> None:
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        await self._save_measures()
        await self._shelf.close()

    async def shelf_answers(self) -> bool | None:
        """Whether what all processes share is there; None where there is no such place."""
        return await self._shelf.answers() if self._shelf.shared else None

    def breaker(self, provider: str) -> Breaker:
        return self._breakers.setdefault(provider, Breaker(self._clock, Resting))

    async def ask(self, provider: str, key: str, fetch: Fetch) -> dict[str, Any]:
        """The answer to `key`, which nobody may change.

        Raises `Decline`: from `fetch`, or because the provider keeps failing. A caller who is cancelled does
        not end the question: its answer is there for the next one.
        """
        breaker, place, now = self.breaker(provider), (provider, key), self._clock()
        breaker.refuse()
        kept = self._kept.get(place)
        if breaker.circuit == "closed" and kept is not None and kept.believed(now):
            self._kept.move_to_end(place)
            if kept.due(now) and len(self._flights) < MAX_FLIGHTS:
                self._flight(place, fetch)
        else:
            kept = await asyncio.shield(self._flight(place, fetch))
        used(kept.until)
        return kept.told()

    def _flight(self, place: Place, fetch: Fetch) -> asyncio.Task[Kept]:
        flight = self._flights.get(place)
        if flight is None:
            if len(self._flights) >= MAX_FLIGHTS:
                raise Decline("too many questions are open: ask again in a moment")
            flight = self._flights[place] = asyncio.create_task(self._fly(place, fetch))
            flight.add_done_callback(lambda _: self._flights.pop(place, None))
        return flight

    async def _fly(self, place: Place, fetch: Fetch) -> Kept:
        """The answer, from whoever is the first to have it. Raises nothing."""
        name = name_of(*place)
        ends = time.monotonic() + self._flight_s
        had = self._kept.get(place)
        while (shared := await self._shared(place, name, had)) is None:
            if await self._shelf.claim(name, self._owner, self._flight_s + 1):
                try:
                    # Somebody may have told it since we looked.
                    shared = await self._shared(place, name, had)
                    return shared or await self._asked(place, name, fetch)
                finally:
                    await self._shelf.release(name, self._owner)
            if time.monotonic() > ends:
                return self._keeping.failed("another process asks it, and has no answer")
            await asyncio.sleep(LOOK_AGAIN_S)
        return shared

    async def _shared(self, place: Place, name: str, had: Kept | None) -> Kept | None:
        """What another process was told, if that is good enough here."""
        if self.breaker(place[0]).circuit != "closed":
            return None
        found = Kept.read(await self._shelf.get(name), self._clock(), self._ttl_s)
        now = self._clock()
        if found is None or not found.believed(now):
            return None
        if had is not None and had.believed(now) and found.due(now):
            return None
        self._keep(place, found)
        return found

    async def _asked(self, place: Place, name: str, fetch: Fetch) -> Kept:
        """Ask the provider itself, and tell everybody."""
        provider = place[0]
        try:
            self.breaker(provider).begin()
        except Decline as resting:
            return self._keeping.failed(str(resting))
        answer = await self._measured(provider, fetch)
        had = self._kept.get(place)
        closed = self.breaker(provider).circuit == "closed"
        if answer.failed and closed and had is not None and not had.failed and had.believed(answer.got_at):
            # The old one still holds: it stays, and is asked for again a little later.
            answer = had.model_copy(update={"due_at": answer.until})
        self._keep(place, answer)
        if self._shelf.shared:
            await self._shelf.put(name, answer.dump(), answer.until - self._clock())
            await self._save_measures()
        return answer

    async def _measured(self, provider: str, fetch: Fetch) -> Kept:
        breaker, began = self.breaker(provider), time.monotonic()
        circuit = breaker.circuit
        answer = await self._fetched(provider, fetch)
        if answer.failed:
            breaker.failed()
            self.measures.asked(provider, None, answer.refusal)
        else:
            breaker.succeeded()
            self.measures.asked(provider, round((time.monotonic() - began) * 1000))
        if breaker.circuit != circuit:
            log.warning("provider_circuit", provider=provider, circuit=breaker.circuit)
        return answer

    async def _fetched(self, provider: str, fetch: Fetch) -> Kept:
        try:
            async with asyncio.timeout(self._flight_s):
                # As it will come back from the shelf, and nothing but JSON.
                return self._keeping.price(json.loads(json.dumps(await fetch(), allow_nan=False)))
        except Failed as exc:
            return self._keeping.failed(str(exc))
        except Decline as exc:
            return self._keeping.declined(str(exc))
        except TimeoutError:
            return self._keeping.failed(f"no answer within {self._flight_s:g} s")
        except (httpx.HTTPError, OSError) as exc:
            log.info("provider_unreachable", provider=provider, error=type(exc).__name__)
            return self._keeping.failed("it does not answer")
        except Exception:
            log.exception("provider_failed", provider=provider)
            return self._keeping.failed("the provider failed")

    def _keep(self, place: Place, answer: Kept) -> None:
        self._kept[place] = answer
        self._kept.move_to_end(place)
        self.changes += 1
        while len(self._kept) > MAX_KEYS:
            self._kept.popitem(last=False)

    async def _save_measures(self) -> None:
        await self._shelf.put(MEASURES, self.measures.dump(), MEASURES_S)
