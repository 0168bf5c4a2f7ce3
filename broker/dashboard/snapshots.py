"""All numbers of the page at one moment, computed at most once a second however many look."""

import time
from dataclasses import dataclass

from broker.dashboard.figures import Books
from broker.dashboard.neighbours import Neighbours
from broker.dashboard.schemas import Host, JobLine, Stats
from broker.settings import BrokerSettings
from shared import __version__
from shared.clock import Clock, iso
from shared.fresh import Fresh

FRESH_S = 0.9
"""Less than the second between two beats, so that each has numbers of its own."""


@dataclass(frozen=True)
class Snapshot:
    """The numbers, and the JSON text of them that everybody is sent."""

    stats: Stats
    text: str

    @property
    def jobs(self) -> dict[str, JobLine]:
        return {job.id: job for job in self.stats.jobs}


class Snapshots:
    """Puts what the ledger and the neighbours say together."""

    def __init__(self, books: Books, neighbours: Neighbours, settings: BrokerSettings, clock: Clock) -> None:
        self._books = books
        self._neighbours = neighbours
        self._settings = settings
        self._started_s = clock()
        self._fresh = Fresh(self._take, time.monotonic, FRESH_S)

    async def latest(self) -> Snapshot:
        """At most `FRESH_S` old. Raises what the database raises."""
        return await self._fresh.get()

    async def _take(self) -> Snapshot:
        seen = await self._neighbours.look()
        figures = await self._books.read()
        at_s = figures.at_ms / 1000
        stats = Stats(
            at=iso(at_s),
            host=self._host(at_s),
            warnings=list(seen.warnings),
            jobs=figures.jobs,
            revenue=figures.revenue,
            refunds=figures.refunds,
            payments=figures.payments,
            lastHour=figures.last_hour,
            neighbours=list(seen.neighbours),
            providers=list(seen.providers),
            executors=[row for one in seen.executors for row in one.rows],
            instances=[one.line() for one in seen.executors],
            slots=self._neighbours.slots(),
        )
        return Snapshot(stats, stats.model_dump_json())

    def _host(self, at_s: float) -> Host:
        settings = self._settings
        return Host(
            version=__version__,
            startedAt=iso(self._started_s),
            uptimeS=max(0, int(at_s - self._started_s)),
            network=settings.x402_network,
            payTo=settings.wallet_address,
            paymentsEnabled=settings.x402_enabled,
        )
