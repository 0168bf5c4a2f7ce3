"""The executors behind EXECUTOR_SERVICE_URL, told apart by the ids that they give themselves.

A name that stands for several addresses (`docker compose --scale executor=3`) is asked at each of them.
Behind one address that several share, each look finds one: those that were seen lately are remembered.
"""

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import httpx

from broker.dashboard.schemas import ExecutorLine, ExecutorRow, ExecutorTold
from shared.clock import Clock, iso

SEEN_S = 60.0
"""How long an executor that is not met again is shown: it was stopped, or the others answer for it."""
ASK_TIMEOUT_S = 2.0
"""For one address. A name may go on standing for one where nobody is any more."""
MAX_ADDRESSES = 16
MAX_EXECUTORS = 64
MAX_ROWS = 100


@dataclass(frozen=True)
class Executor:
    """What one said last, at `seen_s` of the clock. `payer` is the address that it pays others from."""

    id: str
    machine: str
    payer: str | None
    seen_s: float
    rows: tuple[ExecutorRow, ...]

    def line(self) -> ExecutorLine:
        """Its sandbox, of which an executor has one."""
        ready: dict[str, int] = {}
        for row in self.rows:
            ready |= row.ready or {}
        sandboxes = [row for row in self.rows if row.slots is not None]
        return ExecutorLine(
            id=self.id,
            machine=self.machine,
            seenAt=iso(self.seen_s),
            slots=sum(row.slots or 0 for row in sandboxes),
            slotsFree=sum(row.slots_free or 0 for row in sandboxes),
            waiting=sum(row.waiting or 0 for row in sandboxes),
            ready=ready,
            accepting=any(row.accepting for row in sandboxes),
        )


class Executors:
    """Asks by `http`, whose base is EXECUTOR_SERVICE_URL."""

    def __init__(self, http: httpx.AsyncClient, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._seen: dict[str, Executor] = {}

    async def look(self) -> tuple[Executor, ...]:
        """All that were seen within `SEEN_S`. Raises what the first one raised when nobody answers now."""
        found = await asyncio.gather(*map(self._ask, await self._places()), return_exceptions=True)
        answered = [one for one in found if isinstance(one, Executor)]
        if not answered:
            raise next(one for one in found if isinstance(one, BaseException))
        now_s = self._clock()
        lately = {name: one for name, one in self._seen.items() if 0 <= now_s - one.seen_s < SEEN_S}
        lately |= {one.id: one for one in answered}
        newest = sorted(lately.values(), key=lambda one: one.seen_s, reverse=True)[:MAX_EXECUTORS]
        self._seen = {one.id: one for one in newest}
        return tuple(sorted(newest, key=lambda one: (one.machine, one.id)))

    async def _places(self) -> list[httpx.URL]:
        """Where to ask: behind TLS by the name alone, which its certificate is for."""
        base = self._http.base_url
        if base.scheme == "https":
            return [base]
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(base.host, base.port or 80, type=socket.SOCK_STREAM)
        addresses = dict.fromkeys(str(address[0]) for *_, address in found)
        return [base.copy_with(host=address) for address in list(addresses)[:MAX_ADDRESSES]]

    async def _ask(self, place: httpx.URL) -> Executor:
        # On a connection of its own: one that is kept would come to the same executor again and again.
        headers = {"Host": self._http.base_url.netloc.decode("ascii"), "Connection": "close"}
        async with asyncio.timeout(ASK_TIMEOUT_S):
            answer = await self._http.get(place.join("providers"), headers=headers)
        told = ExecutorTold.model_validate_json(answer.raise_for_status().content)
        id_ = told.instance or place.netloc.decode("ascii")
        rows = tuple(row.model_copy(update={"executor": id_}) for row in told.providers[:MAX_ROWS])
        return Executor(id_, told.machine, told.payer, self._clock(), rows)


def shared_wallet(executors: Iterable[Executor], wallet_address: str | None) -> str | None:
    """What is wrong where an executor pays others from the wallet that customers pay; None when none does."""
    wallet = (wallet_address or "").lower()
    names = [one.machine or one.id for one in executors if one.payer and one.payer.lower() == wallet]
    if not names:
        return None
    return (
        f"The executor {names[0]} pays others from X402_WALLET_ADDRESS, so that whoever takes it over takes "
        "all that you earn: set its EXECUTOR_PRIVATE_KEY to the key of another wallet."
    )
