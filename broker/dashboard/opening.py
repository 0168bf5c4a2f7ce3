"""The parts of the page, built together when the broker starts."""

import asyncio
from dataclasses import dataclass

from broker.dashboard.beats import Beats
from broker.dashboard.figures import Books
from broker.dashboard.neighbours import Neighbours
from broker.dashboard.refunds import Refunds
from broker.dashboard.snapshots import Snapshots
from broker.payments.chain import Chain
from broker.settings import BrokerSettings
from shared.clock import Clock
from shared.database import Database
from shared.networks import network_named


@dataclass(frozen=True)
class Dashboard:
    """What `app.state.dashboard` is."""

    snapshots: Snapshots
    beats: Beats
    refunds: Refunds
    neighbours: Neighbours

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.beats.run())
            group.create_task(self.neighbours.run())


def open_dashboard(
    settings: BrokerSettings,
    database: Database,
    clock: Clock,
    *,
    chain: Chain | None,
    neighbours: Neighbours,
) -> Dashboard:
    """Build it on a migrated `database`, inside the running loop."""
    network = network_named(settings.x402_network)
    snapshots = Snapshots(Books(database, network, clock), neighbours, settings, clock)
    return Dashboard(snapshots, Beats(snapshots), Refunds(database, network, chain, clock), neighbours)
