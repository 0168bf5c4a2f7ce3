"""What the broker tells of its money at `/metrics`."""

from collections.abc import Iterable

from prometheus_client.metrics_core import Metric

from broker.payments.ledger import Ledger
from broker.payments.records import EXPOSED
from broker.payments.settlement import Settlement
from shared.metrics import Metrics, counted, gauge, usd


def publish(metrics: Metrics, ledger: Ledger, settlement: Settlement) -> None:
    """Have `metrics` tell of these two. What stands in the ledger all brokers tell alike, for its sum."""
    settlement.took_s = metrics.histogram("galaksio_settlement_seconds", "Time the facilitator took.").observe

    def told() -> Iterable[Metric]:
        events = [((event,), float(count)) for event, count in sorted(ledger.events.items())]
        yield counted("galaksio_payments", "What happened to payments here.", ("event",), events)
        earned = [((), usd(ledger.settled_atomic))]
        yield counted("galaksio_revenue_usd", "Money that moved to the host.", (), earned)

    async def looked_up() -> list[Metric]:
        standing = await ledger.standing()
        states = [((state,), float(standing.open.get(state, 0))) for state in EXPOSED]
        owed = [((), usd(standing.owed_atomic))]
        return [
            gauge("galaksio_payments", "Payments that have not ended.", ("state",), states),
            gauge("galaksio_refunds_owed_usd", "Money that is owed back to customers.", (), owed),
        ]

    metrics.read(told)
    metrics.look_up(looked_up)
