"""Compute on this host's own sandbox: base price plus memory times the time limit."""

from decimal import ROUND_CEILING, Decimal
from typing import Any

from quote.asks import RunAsk
from quote.providers.base import Context, EmbeddedProvider
from shared.money import ceil_div

MEMORY_MB = 512
"""What every run gets (sandbox.md)."""


class LocalCompute(EmbeddedProvider[RunAsk]):
    name = "local"
    kind = "compute"

    def atomic(self, ask: RunAsk) -> int:
        limit_ms = int((Decimal(str(ask.timeout_s)) * 1000).to_integral_value(ROUND_CEILING))
        per_gb_second = self.settings.run_gb_second_atomic
        return self.settings.run_base_atomic + ceil_div(per_gb_second * MEMORY_MB * limit_ms, 1024 * 1000)

    def metadata(self, ask: RunAsk) -> dict[str, Any]:
        return {"language": ask.language, "timeout_s": ask.timeout_s, "memory_mb": MEMORY_MB}


def provider(context: Context) -> LocalCompute:
    return LocalCompute(context)
