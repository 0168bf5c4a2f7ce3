"""What `/health/ready` of the executor asks."""

from executor.providers.base import Provider, Registry
from executor.results import Results
from executor.upstream.base import Upstream
from shared.health import Check, CheckCall, State


def checks_of(registry: Registry, results: Results, upstream: Upstream) -> dict[str, CheckCall]:
    """By the name of the dependency; a provider is called `kind/name`."""

    async def store() -> Check:
        await results.ping()
        return Check("healthy")

    async def wallet() -> Check:
        means = upstream.means()
        if means.reason is not None:
            return Check("disabled", means.reason)
        if means.spendable_atomic:
            return Check("healthy")
        said = "nothing can be paid now: the wallet is empty, or UPSTREAM_MAX_DAY_USD is spent"
        return Check("unhealthy", said, critical=False)

    async def chain() -> Check:
        answers = upstream.means().chain_answers
        if answers is None:
            return Check("disabled")
        if answers:
            return Check("healthy")
        return Check("unhealthy", "the node at CHAIN_RPC_URL does not say what is held", critical=False)

    providers = {f"{one.kind}/{one.name}": _of(one) for one in registry.providers.values()}
    return {**providers, "results": store, "wallet": wallet, "chain": chain}


def _of(provider: Provider) -> CheckCall:
    async def check() -> Check:
        status = provider.status()
        if status.status == "available":
            return Check("healthy", status.reason)
        state: State = "disabled" if status.status == "disabled" else "unhealthy"
        # Without its caches a host still runs code and keeps files.
        return Check(state, status.reason, critical=provider.kind != "cache")

    return check
