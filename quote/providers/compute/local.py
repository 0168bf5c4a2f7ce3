"""Compute on this host's own sandbox: base price plus memory times the time limit."""

from decimal import ROUND_CEILING, Decimal
from typing import Any

from quote.asks import RunAsk
from quote.capabilities import Needs
from quote.providers.base import Context, EmbeddedProvider
from shared.money import ceil_div


class LocalCompute(EmbeddedProvider[RunAsk]):
    name = "local"
    kind = "compute"

    def atomic(self, ask: RunAsk) -> int:
        """Memory and time are charged as asked for, whatever the run uses; 1 GB is 1024 MB here."""
        book = self.settings
        limit_ms = int((Decimal(str(ask.timeout_s)) * 1000).to_integral_value(ROUND_CEILING))
        work = ceil_div(book.run_gb_second_atomic * ask.memory_mb * limit_ms, 1024 * 1000)
        return book.run_base_atomic + work + (book.run_dependencies_atomic if ask.dependencies else 0)

    def needs(self, ask: RunAsk) -> Needs:
        return Needs(ask.language, ask.memory_mb, dependencies=ask.dependencies > 0)

    def metadata(self, ask: RunAsk) -> dict[str, Any]:
        return {
            "language": ask.language,
            "timeout_s": ask.timeout_s,
            "size": ask.size,
            "memory_mb": ask.memory_mb,
            "dependencies": ask.dependencies,
        }


def provider(context: Context) -> LocalCompute:
    return LocalCompute(context)
