"""What Akash, and by its account AWS, Google and Azure, take for a machine: for comparison only."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal, localcontext
from functools import partial
from typing import Any

from quote.asks import RunAsk
from quote.providers.base import Context, Failed, Price
from quote.providers.remote import RemoteProvider, positive_usd, read_json
from shared.http import MB
from shared.money import USD_DECIMALS
from shared.quotes import Refusal

SELLERS = ("akash", "aws", "gcp", "azure")
CPU_MILLI_CORES = 1000
STORAGE_BYTES = 10**9
MONTH_S = 30 * 86_400
QUOTE_ONLY = Refusal(
    code="quote_only",
    reason="it is shown for comparison: nobody there sells single runs, but machines by the month",
)


class Akash(RemoteProvider[RunAsk]):
    """A core, the run's memory and 1 GB of disk; of the price of 30 days, the seconds that were asked for."""

    name = "akash"
    kind = "compute"

    async def prices(self, ask: RunAsk) -> Sequence[Price]:
        per_month = await self.market.ask(self.name, str(ask.memory_mb), partial(self._ask, ask.memory_mb))
        return [
            Price(
                _for_seconds(Decimal(usd), ask.timeout_s),
                QUOTE_ONLY,
                {
                    "price_per_month_usd": usd,
                    "cpu_milli_cores": CPU_MILLI_CORES,
                    "memory_mb": ask.memory_mb,
                    "storage_bytes": STORAGE_BYTES,
                    "timeout_s": ask.timeout_s,
                    "told_by": self.name,
                },
                seller=seller,
            )
            for seller, usd in per_month.items()
        ]

    async def _ask(self, memory_mb: int) -> dict[str, Any]:
        """Dollars per month, by seller; those of whom it says nothing of use are left out."""
        body = {"cpu": CPU_MILLI_CORES, "memory": memory_mb * MB, "storage": STORAGE_BYTES}
        told = read_json(await self.outside.ask("POST", self.settings.akash_url, json=body))
        if not isinstance(told, dict):
            raise Failed("its answer is not a JSON object")
        figures = {seller: positive_usd(told.get(seller)) for seller in SELLERS}
        known = {seller: f"{usd:f}" for seller, usd in figures.items() if usd is not None}
        if not known:
            raise Failed("its answer has no price")
        return known


def _for_seconds(usd_per_month: Decimal, timeout_s: float) -> int:
    """Atomic units, rounded up."""
    with localcontext(prec=60):
        atomic = (usd_per_month * Decimal(str(timeout_s)) / MONTH_S).scaleb(USD_DECIMALS)
        return int(atomic.to_integral_value(ROUND_CEILING))


def provider(context: Context) -> Akash:
    return Akash(context)
