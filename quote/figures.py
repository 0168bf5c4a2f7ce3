"""What the quote service tells of the providers at `/metrics`."""

from decimal import Decimal

from prometheus_client.metrics_core import Metric

from quote.capabilities import Capabilities
from quote.fanout import QuoteEngine
from quote.market import Market
from quote.rows import provider_rows
from shared.metrics import Metrics, Sample, gauge

WHOSE = ("kind", "provider")


def publish(metrics: Metrics, engine: QuoteEngine, capabilities: Capabilities, market: Market) -> None:
    """Have `metrics` tell of every provider that is not disabled. None of them is asked for it."""

    async def looked_up() -> list[Metric]:
        told = await provider_rows(engine.providers, capabilities, market)
        rows = [row for row in told.providers if row.status != "disabled"]
        up: list[Sample] = [((row.kind, row.name), float(row.status == "available")) for row in rows]
        prices = [
            ((row.kind, row.name), float(Decimal(row.price_sample.price_usd)))
            for row in rows
            if row.price_sample is not None
        ]
        answers = {row.name: row.typical_ms / 1000 for row in rows if row.typical_ms is not None}
        return [
            gauge("galaksio_provider_up", "Whether its work can be bought now.", WHOSE, up),
            gauge("galaksio_provider_price_usd", "The last price that it named.", WHOSE, prices),
            gauge(
                "galaksio_provider_probe_seconds",
                "How long its answers took lately, the median.",
                ("provider",),
                [((name,), took_s) for name, took_s in sorted(answers.items())],
            ),
        ]

    metrics.look_up(looked_up)
