"""`GET /providers`: what is known of each provider. Nobody but the executor is asked for it."""

from collections.abc import Sequence

from quote.capabilities import Capabilities, Capability, Needs
from quote.market import Market
from quote.providers.base import QuoteProvider, Resting
from shared.breaker import Breaker
from shared.quotes import PROVIDER_DISABLED, PROVIDER_FAILING, ProviderList, ProviderRow, Refusal


async def provider_rows(
    providers: Sequence[QuoteProvider], capabilities: Capabilities, market: Market
) -> ProviderList:
    rows = [_row(one, await capabilities.of(one.kind, one.name), market) for one in providers]
    return ProviderList(providers=rows, count=len(rows))


def _row(provider: QuoteProvider, capability: Capability, market: Market) -> ProviderRow:
    breaker, probes = market.breaker(provider.name), market.measures.probes(provider.name)
    failing = _failing(breaker)
    refusal = failing or capability.refusal(Needs())
    disabled = provider.disabled is not None or capability.disabled
    works = capability.broken is None and failing is None
    if provider.disabled is not None:
        refusal = Refusal(code=PROVIDER_DISABLED, reason=provider.disabled)
    return ProviderRow(
        name=provider.name,
        kind=provider.kind,
        status="disabled" if disabled else "available" if works else "unavailable",
        reason=refusal.reason if refusal else None,
        refusal=refusal,
        circuit=breaker.circuit,
        success_rate=probes.success_rate,
        typical_ms=probes.typical_ms,
        jobs_success_rate=capability.success_rate,
        jobs_typical_ms=capability.typical_ms,
        last_error=probes.last_error,
        last_asked=probes.last_asked,
        price_sample=market.measures.sample(provider.kind, provider.name),
    )


def _failing(breaker: Breaker) -> Refusal | None:
    try:
        breaker.refuse()
    except Resting as resting:
        return Refusal(code=PROVIDER_FAILING, reason=str(resting), retry_after_s=resting.retry_after_s)
    return None
